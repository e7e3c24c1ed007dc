"""DICOMweb (DICOM PS3.18) over HTTP: search (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS). Needs the extra `imaging`."""
