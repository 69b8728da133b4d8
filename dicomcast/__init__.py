"""dicomcast: keeps a FHIR server in step with a DICOM archive."""

__all__ = ["__version__"]

__version__ = "0.1.0"
