// Package objects holds the tests of the object store drivers with a MinIO server, each
// with MinIO's SDK and with that of AWS. It has no code outside of its tests, which are
// behind the build tag e2e; `make e2e` runs them. FOREBAY_MINIO names the server's binary.
package objects
