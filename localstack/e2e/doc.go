// Package e2e holds the end-to-end tests: the built forebay binary, with real events, seen
// through kcat, franz-go and Apache Kafka's own console tools. It has no code outside of its
// tests, which are behind the build tag e2e; `make e2e` runs them.
//
// FOREBAY_E2E_TARGET=kafka runs the same drivers and scenarios against Apache Kafka, which
// shows that a finding is Forebay's and not the test's. Scenarios about Forebay's own files
// are not part of that run. FOREBAY_E2E_TARGET=cluster runs them on three brokers with MinIO
// and dynalite, while these are restarted in turn, killed, and lose their directories; with
// -short a part of each matrix, chosen so that every client meets every codec.
//
// What runs in a cloud runs here on servers that speak the same protocols: the table on dynalite.
package e2e
