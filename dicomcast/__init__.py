"""dicomcast: keeps a FHIR server in step with a DICOM archive."""
