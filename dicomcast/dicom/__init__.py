"""The DICOM archive: its change feed says which studies changed, DICOMweb says what they are now."""
