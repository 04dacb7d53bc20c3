#!/usr/bin/env bash
# Converts MODEL, scores it on DATA, keeps what both write under RESULTS, and exits with 1 where a limit is not kept.
# The variables are the inputs of action.yml; all but MODEL and DATA may be empty.
set -euo pipefail

results=${RESULTS:-onnx2snn-results}
mkdir -p "$results"
if [ -n "${GITHUB_OUTPUT:-}" ]; then
    echo "results=$results" >> "$GITHUB_OUTPUT"
fi

# options of several words are split on purpose
read -r -a convert <<< "${CONVERT_OPTIONS:-}"
read -r -a score <<< "${EVAL_OPTIONS:-}"
if [ -n "${CALIBRATION:-}" ]; then
    convert+=(--calibration "$CALIBRATION")
fi
for limit in max-drop max-sops max-energy; do
    variable=${limit^^}
    variable=${variable//-/_}
    if [ -n "${!variable:-}" ]; then
        score+=("--$limit" "${!variable}")
    fi
done
if [ -f "${BASELINE:-}" ]; then
    score+=(--baseline "$BASELINE")
elif [ -n "${BASELINE:-}" ]; then
    echo "no baseline at $BASELINE: the first run has none" >&2
fi

onnx2snn "$MODEL" -o "$results/model.snn.onnx" --report "$results/report.json" ${convert[@]+"${convert[@]}"}
onnx2snn eval "$MODEL" "$results/model.snn.onnx" --data "$DATA" --json "$results/scores.json" \
    --html "$results/scores.html" --junit "$results/scores.xml" ${score[@]+"${score[@]}"}
