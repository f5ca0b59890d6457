// Package rights has the scenario in which brokers and functions have no more rights in AWS than the policies of
// package infra/rights give to their jobs, and make use of all of them.
package rights
