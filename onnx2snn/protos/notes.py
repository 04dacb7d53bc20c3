"""Notes: what is told beside the work while it goes on; the commands print them."""

from __future__ import annotations

import logging

NOTES = logging.getLogger("onnx2snn")
