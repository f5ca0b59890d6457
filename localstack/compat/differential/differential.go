// Package differential sends the same requests to Apache Kafka and to Forebay and compares
// what they answer.
//
// A scenario is a function over a session with one broker; it sends requests as frames on TCP
// connections of its own, sound and hostile ones, and its answers are written down in a form
// that does not depend on the broker (canon.go). It runs against both brokers, and the two
// transcripts must be alike. A difference that Forebay rightly has is listed with its reason
// (known.go); it is a case of its own that is expected to fail, so that the list cannot grow stale.
//
// Scenarios share nothing but the brokers and may run at the same time.
package differential

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// scenario is a conversation with a broker.
type scenario struct {
	name string // area/what
	run  func(*session)
}

// scenarioLimit bounds a scenario on one broker.
const scenarioLimit = 90 * time.Second

// atOnce is how many scenarios run at the same time.
const atOnce = 6

// settings are what both brokers are started with.
var settings = map[string]string{
	"group.initial.rebalance.delay.ms": "0",
	"group.min.session.timeout.ms":     "6000",
	"group.max.session.timeout.ms":     "60000",
	"group.max.size":                   "8",
	"offsets.topic.num.partitions":     "3",
	"offset.metadata.max.bytes":        "64",
}

// kafkaSettings are what only Apache Kafka has to be told.
var kafkaSettings = map[string]string{
	"transaction.state.log.num.partitions": "3",
	"log.retention.check.interval.ms":      "3600000", // scenarios have records of 1970
}

// Suites returns the suite of this package.
func Suites() []suite.Suite {
	return []suite.Suite{{
		Name:     "differential",
		About:    "the same requests to Apache Kafka 4.3.1 and to Forebay, answers compared",
		Nodes:    []int{1},
		Settings: settings,
		Limit:    8 * time.Minute,
		Known:    known(),
		Run:      run,
	}}
}

// scenarios are all of them.
func scenarios() []scenario {
	var all []scenario
	for _, area := range []struct {
		name      string
		scenarios []scenario
	}{
		{"produce", produceScenarios},
		{"idempotence", idempotenceScenarios},
		{"fetch", fetchScenarios},
		{"offsets", offsetScenarios},
		{"groups", groupScenarios},
		{"transactions", transactionScenarios},
		{"topics", topicScenarios},
		{"configs", configScenarios},
		{"admin", adminScenarios},
		{"random", randomScenarios()},
		{"frames", frameScenarios},
	} {
		for _, sc := range area.scenarios {
			all = append(all, scenario{area.name + "/" + sc.name, sc.run})
		}
	}
	return all
}

// run starts Apache Kafka and runs every scenario against it and the target.
func run(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
	set := map[string]string{}
	for _, from := range []map[string]string{settings, kafkaSettings} {
		for name, value := range from {
			set[name] = value
		}
	}
	kafka, err := rig.StartKafka(ctx, rig.KafkaConfig{Java: t.Java, Dir: filepath.Join(t.Dir, "kafka"), Set: set})
	if err != nil {
		return nil, fmt.Errorf("start what Forebay is compared with: %w", err)
	}
	defer func() { _ = kafka.Kill() }()
	return compareAll(ctx, kafka.Addr, t.Brokers[0], scenarios(), t), nil
}

// compareAll runs scenarios, some at a time, and returns their cases in order.
func compareAll(ctx context.Context, kafka, forebay string, all []scenario, t *suite.Target) []suite.Case {
	results := make([][]suite.Case, len(all))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, sc := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] = compare(ctx, kafka, forebay, sc, t)
		})
	}
	wg.Wait()
	var cases []suite.Case
	for _, r := range results {
		cases = append(cases, r...)
	}
	return cases
}

// compare runs one scenario against both brokers and returns its case and those of the
// differences that are known of it.
func compare(ctx context.Context, kafka, forebay string, sc scenario, t *suite.Target) []suite.Case {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, scenarioLimit)
	defer cancel()
	var steps [2][]step
	var errs [2]error
	var wg sync.WaitGroup
	for i, addr := range []string{kafka, forebay} {
		wg.Go(func() { steps[i], errs[i] = newSession(ctx, addr, sc.name).run(sc.run) })
	}
	wg.Wait()
	diffs := differences(steps[0], steps[1])
	for i, name := range []string{"Kafka", "Forebay"} {
		if errs[i] != nil {
			diffs = append(diffs, difference{"broken off at " + name, "", "-", errs[i].Error()})
		}
	}
	return casesOf(sc.name, diffs, time.Since(began), t)
}

// casesOf sorts the differences of a scenario into known and unknown ones.
func casesOf(name string, diffs []difference, took time.Duration, t *suite.Target) []suite.Case {
	c := suite.Case{Name: name, Outcome: suite.Passed, Took: took}
	found := map[string][]string{}
	var unknown []string
	for _, d := range diffs {
		if place, ok := placeOf(name, d); ok {
			found[place] = append(found[place], d.String())
			continue
		}
		unknown = append(unknown, d.String())
	}
	if len(unknown) > 0 {
		c.Outcome, c.Reason = suite.Failed, strings.Join(unknown, "\n")
		fmt.Fprintf(t.Log, "%s:\n  %s\n", name, strings.Join(unknown, "\n  "))
	}
	cases := []suite.Case{c}
	for _, place := range placesOf(name) {
		k := suite.Case{Name: place, Outcome: suite.Passed, Reason: "the difference is no more"}
		if what, ok := found[place]; ok {
			k.Outcome, k.Reason = suite.Failed, strings.Join(what, "\n")
		}
		cases = append(cases, k)
	}
	return cases
}
