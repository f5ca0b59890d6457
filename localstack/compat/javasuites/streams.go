package javasuites

import (
	"bufio"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

//go:embed streams/Delays.java
var sources embed.FS

// streamsSuite is an application of ours on Kafka Streams.
func streamsSuite(name string, v version) suite.Suite {
	return suite.Suite{
		Name: name,
		About: "Apache Kafka " + v.name + ": Streams, a windowed aggregation under exactly_once_v2 in two instances, " +
			"while instances and brokers are killed",
		Nodes: []int{1, 3}, Settings: settings, Limit: 10 * time.Minute,
		Prepare: func(ctx context.Context, dir string, log io.Writer) error {
			if err := install(ctx, v, dir, log); err != nil {
				return err
			}
			return compile(ctx, dir)
		},
		Run: run(func(ctx context.Context, s *session) {
			a := &application{session: s}
			defer a.close()
			const purged = "what was repartitioned is deleted"
			if s.try(ctx, "each flight is counted exactly once", a.countFlights) {
				s.try(ctx, purged, a.requirePurged)
			} else {
				s.skip("the flights were not counted", purged)
			}
		}),
	}
}

// compile compiles the application to what classes returns.
func compile(ctx context.Context, dir string) error {
	java, err := rig.FindJava(jars(dir))
	if err != nil {
		return err
	}
	code, err := sources.ReadFile("streams/Delays.java")
	if err != nil {
		return fmt.Errorf("compile the Streams application: %w", err)
	}
	source := filepath.Join(dir, "Delays.java")
	if err := os.WriteFile(source, code, 0o644); err != nil {
		return fmt.Errorf("compile the Streams application: %w", err)
	}
	return java.Compile(ctx, classes(dir), source)
}

// classes is where the compiled application is in what Prepare made.
func classes(dir string) string { return filepath.Join(dir, "classes") }

// application is two instances of the Streams application.
type application struct {
	*session
	instances [2]*rig.Process // started last
	names     [2]string
}

// The topics of the application, and what is killed.
const (
	flightsTopic = "flights"
	delaysTopic  = "delays"
	delaysApp    = "delays-app"
	delaysKills  = 2 // of instances
)

// flightsBegin is midnight of the day of the flights, ms since 1970.
const flightsBegin = 1_704_067_200_000

// flight is one line of the test data.
type flight struct {
	line     string
	Delay    int64   // minutes
	Distance int     // miles
	Time     float64 // hours since midnight
}

func (f flight) at() int64 { return flightsBegin + int64(f.Time*float64(time.Hour/time.Millisecond)) }

// loadFlights returns the flights of the end-to-end tests.
func loadFlights(ctx context.Context) ([]flight, error) {
	root, err := rig.Root(ctx)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(root, "localstack", "e2e", "testdata", "flights.ndjson.gz"))
	if err != nil {
		return nil, fmt.Errorf("load the flights: %w", err)
	}
	defer file.Close()
	in, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("load the flights: %w", err)
	}
	var flights []flight
	for lines := bufio.NewScanner(in); lines.Scan(); {
		f := flight{line: lines.Text()}
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("load the flights: %w", err)
		}
		flights = append(flights, f)
	}
	if len(flights) == 0 {
		return nil, errors.New("load the flights: there are none")
	}
	return flights, nil
}

// sums is what the application says of a distance and half hour.
type sums struct{ count, delay int64 }

func (s sums) String() string { return fmt.Sprintf("%d,%d", s.count, s.delay) }

// countByHand is what the application should come to, by its keys.
func countByHand(flights []flight) map[string]sums {
	totals := map[string]sums{}
	for _, f := range flights {
		window := f.at() - f.at()%(30*time.Minute).Milliseconds()
		key := fmt.Sprintf("%d@%d", f.Distance/100, window)
		t := totals[key]
		totals[key] = sums{t.count + 1, t.delay + f.Delay}
	}
	return totals
}

// countFlights produces the flights and has them counted, while brokers are killed and now and
// then an instance is.
func (a *application) countFlights(ctx context.Context) error {
	flights, err := loadFlights(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(a.topic(ctx, flightsTopic, 4), a.topic(ctx, delaysTopic, 4)); err != nil {
		return err
	}
	err = a.whileKilling(ctx, func(ctx context.Context) error {
		for i := range a.instances {
			if err := a.startInstance(ctx, i); err != nil {
				return err
			}
		}
		if err := a.produceFlights(ctx, flights); err != nil {
			return err
		}
		return a.awaitCounted(ctx, len(flights))
	})
	if err != nil {
		return err
	}
	return a.requireCounted(ctx, flights)
}

func (a *application) startInstance(ctx context.Context, i int) (err error) {
	a.names[i] = fmt.Sprintf("delays-%d", i+1)
	config, err := a.properties(a.names[i]+".properties", "application.id="+delaysApp, "bootstrap.servers="+a.bootstrap(),
		"input.topic="+flightsTopic, "output.topic="+delaysTopic, "state.dir="+filepath.Join(a.Dir, a.names[i]),
		"processing.guarantee=exactly_once_v2", "commit.interval.ms=200", "repartition.purge.interval.ms=1000",
		"windowstore.changelog.additional.retention.ms=1000000000000", // the flights are years old
		"consumer.session.timeout.ms=6000", "consumer.heartbeat.interval.ms=1000", "consumer.auto.offset.reset=earliest")
	if err != nil {
		return err
	}
	java := a.java.With(classes(a.Tools))
	a.instances[i], err = a.start(a.names[i], nil, java.Tool(context.WithoutCancel(ctx), "Delays", config))
	return err
}

func (a *application) close() {
	for _, p := range a.instances {
		if p != nil {
			_ = p.Kill()
		}
	}
}

// produceFlights produces the flights in order of time, in chunks, and kills an instance
// after some of them.
func (a *application) produceFlights(ctx context.Context, flights []flight) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(a.Brokers...), kgo.DefaultProduceTopic(flightsTopic))
	if err != nil {
		return fmt.Errorf("produce the flights: %w", err)
	}
	defer client.Close()
	const chunks = 10
	for chunk := range chunks {
		var records []*kgo.Record
		for _, f := range flights[chunk*len(flights)/chunks : (chunk+1)*len(flights)/chunks] {
			records = append(records, &kgo.Record{
				Key: []byte(strconv.Itoa(f.Distance)), Value: []byte(f.line), Timestamp: time.UnixMilli(f.at()),
			})
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("produce the flights: %w", err)
		}
		if err := a.awaitCounted(ctx, chunk*len(flights)/chunks/2); err != nil {
			return err
		}
		if i := chunk - chunks/2; i >= 0 && i < delaysKills {
			fmt.Fprintln(a.Log, "killing", a.names[i])
			if err := errors.Join(a.instances[i].Kill(), a.startInstance(ctx, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitCounted waits until the ends of the output topic say that n flights may have been counted.
func (a *application) awaitCounted(ctx context.Context, n int) error {
	return await(ctx, func(ctx context.Context) error {
		ends, err := a.admin.ListCommittedOffsets(ctx, delaysTopic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return fmt.Errorf("look at the ends of %s: %w", delaysTopic, err)
		}
		counted := 0
		ends.Each(func(o kadm.ListedOffset) { counted += int(o.Offset) }) // and markers of transactions
		if counted < n {
			return fmt.Errorf("%d of %d flights are counted", counted, n)
		}
		return nil
	})
}

// requireCounted waits until all flights are counted, and checks that each was, and once:
// the records of a key count from 1 up without a gap, and the last has the sums.
func (a *application) requireCounted(ctx context.Context, flights []flight) error {
	want := countByHand(flights)
	return await(ctx, func(ctx context.Context) error {
		records, err := a.read(ctx, a.Brokers, delaysTopic)
		if err != nil {
			return err
		}
		have := map[string]sums{}
		for _, r := range records {
			key, last := string(r.Key), have[string(r.Key)]
			var s sums
			if _, err := fmt.Sscanf(string(r.Value), "%d,%d", &s.count, &s.delay); err != nil {
				return fmt.Errorf("the application wrote %s: %w", r.Value, err)
			}
			if s.count != last.count+1 {
				return fmt.Errorf("after %d flights of %s the application has counted %d, at offset %d of partition %d: %w",
					last.count, key, s.count, r.Offset, r.Partition, errHopeless)
			}
			have[key] = s
		}
		var wrong examples
		for key, total := range want {
			if have[key] != total {
				wrong.add(fmt.Sprintf("%s: %v instead of %v", key, have[key], total))
			}
		}
		if wrong.n > 0 || len(have) != len(want) {
			return fmt.Errorf("%d of %d sums are wrong%s; there are %d records of %d flights", wrong.n, len(want), wrong, len(records), len(flights))
		}
		return nil
	})
}

// requirePurged checks that Streams deletes what it has read of the topic by which it repartitions.
func (a *application) requirePurged(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	topic := delaysApp + "-by-band-repartition"
	return await(ctx, func(ctx context.Context) error {
		starts, err := a.admin.ListStartOffsets(ctx, topic)
		if err == nil {
			err = starts.Error()
		}
		if err != nil {
			return fmt.Errorf("look at topic %s: %w", topic, err)
		}
		var kept []string
		starts.Each(func(o kadm.ListedOffset) {
			if o.Offset == 0 {
				kept = append(kept, strconv.Itoa(int(o.Partition)))
			}
		})
		if len(kept) > 0 {
			return fmt.Errorf("of topic %s nothing was deleted in partitions %s", topic, strings.Join(kept, ", "))
		}
		return nil
	})
}
