// Package check proves what can be proved of the Terraform modules without AWS: they are formatted and linted, valid
// for the provider's schema, their own tests pass, examples can be applied, rights and tables are those of the code,
// and mistakes planted in a copy are found. `make terraform` runs its tests, which need OpenTofu, tflint and the
// stand-in for the AWS provider; what that cannot prove RFC 0006 tells.
package check
