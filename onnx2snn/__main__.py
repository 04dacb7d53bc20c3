"""`python -m onnx2snn` is `onnx2snn`."""

import sys

from onnx2snn.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
