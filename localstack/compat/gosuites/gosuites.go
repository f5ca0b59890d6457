// Package gosuites runs the test suites of Go clients, as they are published: franz-go,
// sarama, kafka-go and confluent-kafka-go. They are installed from the module proxy and never
// changed.
package gosuites

import "github.com/forebaylog/forebay/localstack/compat/suite"

// What is installed. The newest of confluent-kafka-go is the client of today; the older two
// have librdkafka of their time with them, which negotiates differently.
const (
	franzModule     = "github.com/twmb/franz-go@v1.22.2"
	saramaModule    = "github.com/IBM/sarama@v1.61.1"
	toxiproxyModule = "github.com/Shopify/toxiproxy/v2@v2.5.0"
	kafkaGoModule   = "github.com/segmentio/kafka-go@v0.4.51"
	confluentModule = "github.com/confluentinc/confluent-kafka-go/v2@"
)

// confluentVersions are those of confluent-kafka-go, each with its librdkafka.
var confluentVersions = []string{"v2.11.1", "v2.6.1", "v2.3.0"}

// noRebalanceDelay is what every one of these suites is run with by its authors.
var noRebalanceDelay = map[string]string{"group.initial.rebalance.delay.ms": "0"}

// Suites returns the suites of this package.
func Suites() []suite.Suite {
	all := []suite.Suite{franz(), sarama(), kafkaGo()}
	for _, version := range confluentVersions {
		all = append(all, confluent(version))
	}
	return all
}
