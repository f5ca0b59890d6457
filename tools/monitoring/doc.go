// Package monitoring has tests only: of the dashboards and alert rules in infra/monitoring, with
// Prometheus' own parser and engine. It is a module of its own, so that Prometheus is a
// dependency of nothing else.
package monitoring
