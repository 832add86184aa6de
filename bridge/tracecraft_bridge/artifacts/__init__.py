"""The artifact store: files under their hash in any S3; clients get presigned URLs and no credentials."""
