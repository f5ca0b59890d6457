// Package laptop holds the tests of what runs a cluster on one machine: the image's
// Dockerfile, the compose file and localstack/up. There is no Docker in them: the binary is
// built by the Dockerfile's own command, and the brokers run with the compose file's commands
// and environment on loopback. It has no code outside of its tests, which are behind the
// build tag e2e; `make e2e` runs them.
package laptop
