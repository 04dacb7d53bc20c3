"""Tests of the runtime; a package, since other folders have a conftest, too."""
