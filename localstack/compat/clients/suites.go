// Package clients runs small applications on the Kafka clients of Python and Node.js against
// Forebay: a producer, a group of three whose members share the partitions, and a copier that
// reads, writes and commits its offsets in transactions.
//
// What the applications did is checked record by record by our own client. The package owns
// the programs that it starts.
package clients

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

//go:embed client.py
var pythonSource []byte

//go:embed client.js
var nodeSource []byte

// client is one client library.
type client struct {
	name   string
	script string // file name of its application
	// command starts the application, given what Prepare made and the path of the script.
	command func(tools, script string) (program string, args, env []string)
}

func python(name string) client {
	return client{name, "client.py", func(tools, script string) (string, []string, []string) {
		return filepath.Join(tools, "venv", "bin", "python"), []string{script, name}, nil
	}}
}

func node(name string) client {
	return client{name, "client.js", func(tools, script string) (string, []string, []string) {
		return "node", []string{script, name}, []string{"CLIENT_MODULES=" + tools}
	}}
}

// settings make groups of tests short.
var settings = map[string]string{
	"group.initial.rebalance.delay.ms":     "0",
	"offsets.topic.num.partitions":         "4",
	"transaction.state.log.num.partitions": "4",
}

// Suites returns the suites of this package.
func Suites() []suite.Suite {
	return []suite.Suite{
		{
			Name: "python", About: "applications on confluent-kafka 2.16.1, kafka-python 3.0.12 and aiokafka 0.14.0",
			Nodes: []int{1, 3}, Settings: settings, Limit: 8 * time.Minute, Prepare: preparePython,
			Run: run(python("confluent-kafka"), python("kafka-python"), python("aiokafka")),
		},
		{
			Name: "node", About: "applications on kafkajs 2.2.4 and @confluentinc/kafka-javascript 1.10.1",
			Nodes: []int{1, 3}, Settings: settings, Limit: 8 * time.Minute, Prepare: prepareNode,
			Run: run(node("kafkajs"), node("kafka-javascript")),
		},
	}
}

// preparePython makes a virtual environment of the pinned packages.
func preparePython(ctx context.Context, dir string, log io.Writer) error {
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	if err := execute(ctx, log, dir, nil, "python3", "-m", "venv", "venv"); err != nil {
		return err
	}
	requirements := filepath.Join(root, "tools", "compat", "python", "requirements.txt")
	return execute(ctx, log, dir, nil, filepath.Join(dir, "venv", "bin", "pip"), "install", "--quiet", "-r", requirements)
}

// prepareNode installs the locked packages. That of Confluent has no binary in the registry:
// it is compiled, with the librdkafka that it brings, against the headers of this Node.js.
func prepareNode(ctx context.Context, dir string, log io.Writer) error {
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join(root, "tools", "compat", "node", name))
		if err != nil {
			return fmt.Errorf("prepare the clients of Node.js: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return fmt.Errorf("prepare the clients of Node.js: %w", err)
		}
	}
	addon := filepath.Join(dir, "node_modules", "@confluentinc", "kafka-javascript")
	if _, err := os.Stat(filepath.Join(addon, "build", "Release", "confluent-kafka-javascript.node")); err == nil {
		return nil
	}
	if err := execute(ctx, log, dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
		return err
	}
	where, err := exec.LookPath("node")
	if err != nil {
		return fmt.Errorf("find Node.js: %w", err)
	}
	env := []string{"CKJS_LINKING=dynamic", "npm_config_nodedir=" + filepath.Dir(filepath.Dir(where))}
	return execute(ctx, log, addon, env, filepath.Join(dir, "node_modules", ".bin", "node-pre-gyp"), "install", "--build-from-source")
}

// execute runs a program to its end.
func execute(ctx context.Context, log io.Writer, dir string, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %v: %w", program, args, err)
	}
	return nil
}
