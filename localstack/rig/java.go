package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Java runs main classes of Apache Kafka's jars.
type Java struct {
	jars    string   // directory of the jars and the logging configuration
	classes []string // more places for the class path
	runtime string   // path of the java command
}

var errNoJars = errors.New("find Apache Kafka's jars: no directory given; run through make, or set FOREBAY_JARS=$(tools/install java)")

// FindJava returns the Java tools whose jars are in dir, as `tools/install java` prints it.
func FindJava(dir string) (*Java, error) {
	if dir == "" {
		return nil, errNoJars
	}
	if jars, err := filepath.Glob(filepath.Join(dir, "kafka-tools-*.jar")); err != nil || len(jars) == 0 {
		return nil, fmt.Errorf("find Apache Kafka's jars: no kafka-tools in %s; run tools/install java", dir)
	}
	runtime, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("find a Java runtime: %w; run tools/install system", err)
	}
	return &Java{jars: dir, runtime: runtime}, nil
}

// With returns the tools with directories of classes behind the jars.
func (j *Java) With(classes ...string) *Java {
	return &Java{jars: j.jars, classes: slices.Concat(j.classes, classes), runtime: j.runtime}
}

// Compile compiles sources against the jars into the directory out, with the javac of $PATH.
func (j *Java) Compile(ctx context.Context, out string, sources ...string) error {
	line := append([]string{"-cp", j.classPath(), "-d", out, "-Xlint:all,-path,-processing", "-Werror"}, sources...)
	if said, err := exec.CommandContext(ctx, "javac", line...).CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w; without javac run tools/install system\n%s", strings.Join(sources, " "), err, said)
	}
	return nil
}

func (j *Java) classPath() string {
	return strings.Join(append([]string{filepath.Join(j.jars, "*")}, j.classes...), string(filepath.ListSeparator))
}

// Main classes of Apache Kafka that the rig knows.
const (
	ConsoleProducer     = "org.apache.kafka.tools.ConsoleProducer"
	ConsoleConsumer     = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	TopicCommand        = "org.apache.kafka.tools.TopicCommand"
	GetOffsets          = "org.apache.kafka.tools.GetOffsetShell"
	ConsumerGroups      = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	DeleteRecords       = "org.apache.kafka.tools.DeleteRecordsCommand"
	LogDirs             = "org.apache.kafka.tools.LogDirsCommand"
	ConfigCommand       = "kafka.admin.ConfigCommand"
	FeatureCommand      = "org.apache.kafka.tools.FeatureCommand"
	ReassignCommand     = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	ProducerPerformance = "org.apache.kafka.tools.ProducerPerformance"
	ConsumerPerformance = "org.apache.kafka.tools.ConsumerPerformance"
	VerifiableProducer  = "org.apache.kafka.tools.VerifiableProducer"
	VerifiableConsumer  = "org.apache.kafka.tools.VerifiableConsumer"
	TransactionalCopier = "org.apache.kafka.tools.TransactionalMessageCopier"
	ConnectWorker       = "org.apache.kafka.connect.cli.ConnectDistributed"
	MirrorMaker         = "org.apache.kafka.connect.mirror.MirrorMaker"
	storageTool         = "kafka.tools.StorageTool"
	serverMain          = "kafka.Kafka"
)

// Tool returns the command for a console tool, on a JVM that is tuned to start fast.
func (j *Java) Tool(ctx context.Context, main string, args ...string) *exec.Cmd {
	return j.command(ctx, []string{
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Xshare:auto", "-XX:SharedArchiveFile=" + filepath.Join(j.jars, "classes.jsa"), "-Xlog:disable", "-Xlog:all=error:stderr",
	}, main, args)
}

// Perf returns the command for a performance tool, on a JVM with the options of Apache
// Kafka's own scripts.
func (j *Java) Perf(ctx context.Context, main string, args ...string) *exec.Cmd {
	return j.command(ctx, append([]string{"-Xmx512M"}, performanceOptions...), main, args)
}

// performanceOptions are those of bin/kafka-run-class.sh.
var performanceOptions = []string{
	"-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
	"-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
}

func (j *Java) command(ctx context.Context, options []string, main string, args []string) *exec.Cmd {
	line := append([]string{}, options...)
	line = append(line, "-Dlog4j2.configurationFile="+filepath.Join(j.jars, "log4j2.properties"),
		"-cp", j.classPath(), main)
	cmd := exec.CommandContext(ctx, j.runtime, append(line, args...)...)
	cmd.Env = os.Environ()
	return cmd
}
