// Package lintrules proves that the rules in .golangci.yml bite: its test seeds one
// violation of each rule into a module of its own and expects exactly those to be found.
// Another holds docs/architecture.md to the packages that there are. It holds no code that runs elsewhere.
package lintrules
