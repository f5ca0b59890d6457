package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker"
)

// configured reads settings for a command with the flags that the test needs.
func configured(t *testing.T, env map[string]string, file string, args ...string) (*cobra.Command, error) {
	t.Helper()
	root := &cobra.Command{Use: "forebay"}
	root.PersistentFlags().String("config", "", "")
	cmd := &cobra.Command{Use: "run", RunE: func(*cobra.Command, []string) error { return nil }}
	cmd.Flags().String("kafka-addr", "default", "")
	cmd.Flags().Int("size", 1, "")
	cmd.Flags().StringSlice("brokers", []string{"default"}, "")
	cmd.Flags().StringArray("set", nil, "")
	other := &cobra.Command{Use: "other", RunE: cmd.RunE}
	other.Flags().Bool("elsewhere", false, "")
	root.AddCommand(cmd, other)
	if file != "" {
		name := filepath.Join(t.TempDir(), "forebay.yaml")
		require.NoError(t, os.WriteFile(name, []byte(file), 0o600))
		args = append(args, "--config", name)
	}
	root.SetArgs(append([]string{"run"}, args...))
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return applyConfig(cmd, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	}
	root.SilenceErrors, root.SilenceUsage = true, true
	return root.ExecuteC()
}

func TestConfigPrecedence(t *testing.T) {
	file := "kafka-addr: file\nsize: 3\nbrokers: [a, b]\nset: [x=1, \"y=2,3\"]\nelsewhere: true\n"
	env := map[string]string{"FOREBAY_KAFKA_ADDR": "env", "FOREBAY_SIZE": "2", "FOREBAY_UNRELATED": "x"}
	tests := []struct {
		name string
		env  map[string]string
		file string
		args []string
		addr string
		size int
	}{
		{"default", nil, "", nil, "default", 1},
		{"file", nil, file, nil, "file", 3},
		{"environment over file", env, file, nil, "env", 2},
		{"flag over both", env, file, []string{"--kafka-addr", "flag"}, "flag", 2},
		{"empty file", nil, "# nothing\n", nil, "default", 1},
		{"flag of the default's value", env, file, []string{"--size", "1"}, "env", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd, err := configured(t, tt.env, tt.file, tt.args...)
			require.NoError(t, err)
			addr, err := cmd.Flags().GetString("kafka-addr")
			require.NoError(t, err)
			size, err := cmd.Flags().GetInt("size")
			require.NoError(t, err)
			require.Equal(t, tt.addr, addr)
			require.Equal(t, tt.size, size)
		})
	}
	cmd, err := configured(t, nil, file)
	require.NoError(t, err)
	brokers, err := cmd.Flags().GetStringSlice("brokers")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, brokers, "a list replaces the default")
	set, err := cmd.Flags().GetStringArray("set")
	require.NoError(t, err)
	require.Equal(t, []string{"x=1", "y=2,3"}, set)
}

func TestConfigMistakes(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		file string
		says string
	}{
		{"unknown setting", nil, "kafka-adr: x\n", `there is no setting "kafka-adr"`},
		{"not YAML", nil, "a: [\n", "read configuration"},
		{"bad value in the file", nil, "size: many\n", "size"},
		{"bad value in the environment", map[string]string{"FOREBAY_SIZE": "many"}, "", "FOREBAY_SIZE"},
		{"no value", nil, "kafka-addr:\n", "no value"},
		{"nested", nil, "kafka-addr:\n  host: x\n", "one value or a list"},
		{"missing file", map[string]string{"FOREBAY_CONFIG": "/nonexistent/forebay.yaml"}, "", "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := configured(t, tt.env, tt.file)
			require.ErrorContains(t, err, tt.says)
			var exit *exitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, exitUsage, exit.code)
		})
	}
}

func TestSettings(t *testing.T) {
	var cfg broker.Config
	require.NoError(t, applySettings(&cfg, []string{
		"auto.create.topics.enable=false", "num.partitions=6", "group.initial.rebalance.delay.ms=250",
		"connections.max.idle.ms=0", "offsets.retention.minutes=60",
		"offsets.topic.num.partitions=7", "offsets.topic.replication.factor=1",
	}))
	require.True(t, cfg.Defaults.NoAutoCreateTopics)
	require.EqualValues(t, 6, cfg.Defaults.NumPartitions)
	require.Equal(t, 250*time.Millisecond, cfg.Groups.InitialRebalanceDelay)
	require.Equal(t, time.Hour, cfg.Groups.OffsetsRetention)
	require.EqualValues(t, 7, cfg.Groups.OffsetsTopicPartitions)
	require.EqualValues(t, 1, cfg.Groups.OffsetsTopicReplicas)
	require.Negative(t, cfg.Limits.ConnectionIdle, "0 means none")
	for _, bad := range []string{"num.partitions", "num.partitions=", "num.partitions=1.5", "nope=1", "default.replication.factor=70000"} {
		require.Error(t, applySettings(&cfg, []string{bad}), bad)
	}
}
