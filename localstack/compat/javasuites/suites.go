// Package javasuites runs Apache Kafka's own Java programs against Forebay: the tools of its
// system tests, an application on Kafka Streams, Kafka Connect and MirrorMaker 2.
//
// What the programs did is checked record by record by our own client, while brokers and
// programs are killed on the way. It owns the programs that it starts and, while a case
// runs, the brokers that it kills and starts again. Suites run one after the other.
package javasuites

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// version is one of Apache Kafka's, as tools/compat/java has it.
type version struct {
	name string // as in the pom
	dir  string // below tools/compat/java
}

var (
	current = version{name: "4.3.1", dir: "current"}
	last3   = version{name: "3.9.2", dir: "3.9"}
)

// settings are configs of brokers that make groups and transactions of tests short.
var settings = map[string]string{
	"group.initial.rebalance.delay.ms":     "0",
	"offsets.topic.num.partitions":         "4",
	"transaction.state.log.num.partitions": "4",
}

// Suites returns the suites of this package.
func Suites() []suite.Suite {
	return []suite.Suite{
		toolsSuite("java-tools", current),
		toolsSuite("java-tools-3.9", last3),
		streamsSuite("streams", current),
		connectSuite("connect", current),
		mirrorSuite("mirrormaker", current),
	}
}

// install makes dir/jars lead to the jars of a version.
func install(ctx context.Context, v version, dir string, log io.Writer) error {
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "tools", "install"), "java", "compat/java/"+v.dir)
	cmd.Stderr = log
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("install the jars of Apache Kafka %s: %w", v.name, err)
	}
	link := jars(dir)
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("install the jars of Apache Kafka %s: %w", v.name, err)
	}
	if err := os.Symlink(strings.TrimSpace(string(out)), link); err != nil {
		return fmt.Errorf("install the jars of Apache Kafka %s: %w", v.name, err)
	}
	return nil
}

// jars is where the jars are in what Prepare made.
func jars(dir string) string { return filepath.Join(dir, "jars") }

// prepareJars is the Prepare of suites that need nothing but jars.
func prepareJars(v version) func(context.Context, string, io.Writer) error {
	return func(ctx context.Context, dir string, log io.Writer) error { return install(ctx, v, dir, log) }
}

// caseLimit bounds one case.
const caseLimit = 4 * time.Minute
