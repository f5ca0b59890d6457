package javasuites

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// connectSuite is Kafka Connect in distributed mode.
func connectSuite(name string, v version) suite.Suite {
	return suite.Suite{
		Name: name,
		About: "Apache Kafka " + v.name + ": Connect, distributed, with two workers, FileStreamSource and FileStreamSink, " +
			"while workers and brokers are killed",
		Nodes: []int{1, 3}, Settings: settings, Limit: 10 * time.Minute,
		Prepare: prepareJars(v),
		Run: run(func(ctx context.Context, s *session) {
			for _, mode := range []string{atLeastOnce, exactlyOnce} {
				c := &connect{session: s, mode: mode}
				c.cases(ctx)
			}
		}),
	}
}

// How a source delivers.
const (
	atLeastOnce = "at least once"
	exactlyOnce = "exactly once"
)

// connect is a group of workers that copy the lines of a file to a topic, and those of the topic to a file.
type connect struct {
	*session
	mode    string
	workers []*worker
}

// What a connect copies.
const (
	connectChunks = 12
	connectChunk  = 1_000                  // lines
	connectPause  = 700 * time.Millisecond // between chunks
)

// worker is one process of Connect, through all its starts.
type worker struct {
	addr    string // of its REST interface
	config  string // path of its properties
	process *rig.Process
}

// name is one that no other mode has.
func (c *connect) name(what string) string { return strings.ReplaceAll(c.mode, " ", "-") + "-" + what }

// path is that of a file that a connector reads or writes.
func (c *connect) path(what string) string { return filepath.Join(c.Dir, c.name(what)) }

// cases tries the cases of a mode, which share their workers.
func (c *connect) cases(ctx context.Context) {
	starts, copies := c.mode+": workers start, and make their topics", c.mode+": all lines arrive"
	defer func() {
		for _, w := range c.workers {
			_ = w.process.Kill()
		}
	}()
	if !c.try(ctx, starts, c.start2) {
		c.skip("the workers did not start", copies)
		return
	}
	c.try(ctx, copies, c.copyLines)
}

// start2 starts two workers, waits until they serve, and looks at the topics that they made.
func (c *connect) start2(ctx context.Context) error {
	for i := range 2 {
		addr, err := rig.FreeAddr()
		if err != nil {
			return err
		}
		config, err := c.properties(c.name(fmt.Sprintf("worker-%d.properties", i+1)), c.workerConfig(addr)...)
		if err != nil {
			return err
		}
		w := &worker{addr: addr, config: config}
		if err := c.startWorker(ctx, w); err != nil {
			return err
		}
		c.workers = append(c.workers, w)
	}
	for _, w := range c.workers {
		err := await(ctx, func(ctx context.Context) error { return w.ask(ctx, http.MethodGet, "/connectors", nil, nil) })
		if err != nil {
			return fmt.Errorf("a worker does not serve: %w", err)
		}
	}
	return c.requireTopics(ctx)
}

func (c *connect) workerConfig(addr string) []string {
	config := []string{
		"bootstrap.servers=" + c.bootstrap(), "group.id=" + c.name("connect"), "listeners=http://" + addr, "plugin.discovery=service_load",
		"key.converter=org.apache.kafka.connect.storage.StringConverter", "value.converter=org.apache.kafka.connect.storage.StringConverter",
		"config.storage.topic=" + c.name("configs"), "offset.storage.topic=" + c.name("offsets"), "status.storage.topic=" + c.name("status"),
		"config.storage.replication.factor=-1", "offset.storage.replication.factor=-1", "status.storage.replication.factor=-1",
		"offset.storage.partitions=5", "status.storage.partitions=3", "offset.flush.interval.ms=500",
		// A worker that is gone is missed soon, and its tasks do not wait for it to return.
		"session.timeout.ms=6000", "heartbeat.interval.ms=1000", "scheduled.rebalance.max.delay.ms=1000",
	}
	if c.mode == exactlyOnce {
		config = append(config, "exactly.once.source.support=enabled")
	}
	return config
}

func (c *connect) startWorker(ctx context.Context, w *worker) (err error) {
	name := strings.TrimSuffix(filepath.Base(w.config), ".properties")
	w.process, err = c.start(name, nil, c.java.Tool(context.WithoutCancel(ctx), rig.ConnectWorker, w.config))
	return err
}

// ask sends a request to a worker's REST interface and decodes the answer into out, unless that is nil.
func (w *worker) ask(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask Connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+w.addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask Connect: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask Connect: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = errors.New(resp.Status + ": " + string(said))
	}
	if err == nil && out != nil {
		err = json.Unmarshal(said, out)
	}
	if err != nil {
		return fmt.Errorf("ask Connect for %s %s: %w", method, path, err)
	}
	return nil
}

// requireTopics checks that the workers' topics are compacted and have the partitions that they should have.
func (c *connect) requireTopics(ctx context.Context) error {
	partitions := map[string]int{c.name("configs"): 1, c.name("offsets"): 5, c.name("status"): 3}
	for topic, n := range partitions {
		details, err := c.admin.ListTopics(ctx, topic)
		if err == nil {
			err = details.Error()
		}
		if err != nil {
			return fmt.Errorf("look at topic %s: %w", topic, err)
		}
		if got := len(details[topic].Partitions); got != n {
			return fmt.Errorf("topic %s has %d partitions and should have %d", topic, got, n)
		}
		if err := requireConfig(ctx, c.admin, topic, "cleanup.policy", "compact"); err != nil {
			return err
		}
	}
	return nil
}

// copyLines lets connectors copy lines that are appended to a file, to a topic and from that
// to another file, and kills the worker that reads the file, and a broker, on the way.
func (c *connect) copyLines(ctx context.Context) error {
	topic := c.name("lines")
	if err := c.topic(ctx, topic, 1); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("source.txt"), nil, 0o644); err != nil {
		return fmt.Errorf("make the file to copy: %w", err)
	}
	source := map[string]string{"connector.class": "FileStreamSource", "tasks.max": "1", "file": c.path("source.txt"), "topic": topic, "batch.size": "100"}
	if c.mode == exactlyOnce {
		source["exactly.once.support"], source["transaction.boundary"] = "required", "poll"
	}
	sink := map[string]string{"connector.class": "FileStreamSink", "tasks.max": "1", "file": c.path("sink.txt"), "topics": topic}
	for name, config := range map[string]map[string]string{"source": source, "sink": sink} {
		err := await(ctx, func(ctx context.Context) error { // a rebalance is refused
			return c.workers[0].ask(ctx, http.MethodPut, "/connectors/"+name+"/config", config, nil)
		})
		if err != nil {
			return err
		}
	}
	for _, name := range []string{"source", "sink"} {
		if err := await(ctx, func(ctx context.Context) error { _, err := c.runner(ctx, name); return err }); err != nil {
			return err
		}
	}
	lines, err := c.appendLines(ctx)
	if err != nil {
		return err
	}
	return await(ctx, func(ctx context.Context) error { return c.requireLines(ctx, topic, lines) })
}

// runner returns the worker that runs the task of a connector.
func (c *connect) runner(ctx context.Context, connector string) (*worker, error) {
	var status struct {
		Tasks []struct {
			State, Trace string
			Worker       string `json:"worker_id"`
		}
	}
	for _, w := range c.workers {
		if !w.process.Running() {
			continue
		}
		if err := w.ask(ctx, http.MethodGet, "/connectors/"+connector+"/status", nil, &status); err != nil {
			return nil, err
		}
		break
	}
	if len(status.Tasks) != 1 || status.Tasks[0].State != "RUNNING" {
		return nil, fmt.Errorf("connector %s does not run: %+v", connector, status.Tasks)
	}
	i := slices.IndexFunc(c.workers, func(w *worker) bool { return w.addr == status.Tasks[0].Worker })
	if i < 0 || !c.workers[i].process.Running() {
		return nil, fmt.Errorf("connector %s runs on %s, which is not there", connector, status.Tasks[0].Worker)
	}
	return c.workers[i], nil
}

// appendLines appends lines to the file that is copied, a chunk at a time, and kills on the
// way. It returns the lines.
func (c *connect) appendLines(ctx context.Context) (counted, error) {
	file, err := os.OpenFile(c.path("source.txt"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("append lines: %w", err)
	}
	defer file.Close()
	lines := counted{}
	for chunk := range connectChunks {
		var b strings.Builder
		for i := range connectChunk {
			line := fmt.Sprintf("line %06d", chunk*connectChunk+i)
			lines[line] = 1
			b.WriteString(line + "\n")
		}
		if _, err := file.WriteString(b.String()); err != nil {
			return nil, fmt.Errorf("append lines: %w", err)
		}
		switch chunk {
		case connectChunks / 3:
			err = c.killWorker(ctx)
		case connectChunks * 2 / 3:
			err = c.killBroker(ctx)
		}
		if err == nil {
			err = sleep(ctx, connectPause)
		}
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// killWorker kills the worker that reads the file and starts it again.
func (c *connect) killWorker(ctx context.Context) error {
	w, err := c.runner(ctx, "source")
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Log, "killing the worker at %s\n", w.addr)
	if err := w.process.Kill(); err != nil {
		return err
	}
	return c.startWorker(ctx, w)
}

func (c *connect) killBroker(ctx context.Context) error {
	b := c.Cluster.Brokers()[0]
	fmt.Fprintf(c.Log, "killing %s\n", b.Name)
	if err := b.Kill(); err != nil {
		return err
	}
	return b.Start(context.WithoutCancel(ctx))
}

// requireLines checks that the lines are in the topic and in the file that the sink writes:
// as often as the mode promises, and the sink at least once.
func (c *connect) requireLines(ctx context.Context, topic string, lines counted) error {
	records, err := c.read(ctx, c.Brokers, topic)
	if err != nil {
		return err
	}
	have := counted{}
	for _, r := range records {
		have[string(r.Value)]++
	}
	if err := have.compare(lines, c.mode == atLeastOnce); err != nil {
		return fmt.Errorf("the topic that the source writes: %w", err)
	}
	written, err := os.ReadFile(c.path("sink.txt"))
	if err != nil {
		return fmt.Errorf("the file that the sink writes: %w", err)
	}
	sunk := bag(strings.Split(strings.TrimSuffix(string(written), "\n"), "\n"))
	for line := range sunk {
		if lines[line] == 0 {
			delete(sunk, line) // the end of a line that was cut off when the worker was killed
		}
	}
	if err := sunk.compare(lines, true); err != nil {
		return fmt.Errorf("the file that the sink writes: %w", err)
	}
	return nil
}
