// Package bus runs the ends of the event bus end to end, on the built binary: events that curl brings
// and kcat reads, forebay sink to receivers that fail and to a stand-in for AWS Lambda, and a
// consumer that is set up as Lambda's event source mapping is. The tests have the build tag e2e.
package bus
