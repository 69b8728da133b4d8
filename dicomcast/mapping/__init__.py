"""DICOM to FHIR R4, element by element: pure functions of the metadata. One module per resource."""
