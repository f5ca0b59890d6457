package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README has what is printed, at the default ports.
func TestTourIsTheREADMEs(t *testing.T) {
	c, err := parse(nil, io.Discard)
	require.NoError(t, err)
	var brokers []string
	for i := range c.brokers {
		brokers = append(brokers, loopback(c.kafkaPort+i))
	}
	commands := tour("http://"+loopback(c.apiPort), loopback(c.httpPort), strings.Join(brokers, ","), c.brokers)
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "\n$ "+strings.Join(commands, "\n$ ")+"\n")
}

func TestPortsThatCannotBe(t *testing.T) {
	for _, flag := range []string{"-kafka-port", "-admin-port", "-http-port", "-api-port", "-minio-port", "-dynamodb-port"} {
		for _, port := range []string{"0", "65534"} {
			_, err := parse([]string{flag, port}, io.Discard)
			require.ErrorContains(t, err, "port "+port, flag)
		}
	}
}
