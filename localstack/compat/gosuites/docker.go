package gosuites

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// docker stands in for the command of that name in suites that stop and start their brokers
// with `docker compose`: a script of that name hands its arguments to this process, which does
// the same to the brokers of a cluster. A service is called kafka-ID.
type docker struct {
	// Dir holds the script, to be put into PATH.
	Dir string

	cluster  *rig.Cluster
	listener net.Listener
	serving  sync.WaitGroup
}

// dockerScript sends its arguments in a line, and prints what comes back behind the exit code.
const dockerScript = `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/%s || exit 1
printf '%%s\n' "$*" >&3
read -r code <&3
cat <&3
exit "$code"
`

// startDocker begins to serve, until Close.
func startDocker(ctx context.Context, dir string, cluster *rig.Cluster) (*docker, error) {
	d := &docker{Dir: filepath.Join(dir, "bin"), cluster: cluster}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("stand in for docker: %w", err)
	}
	var err error
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("stand in for docker: %w", err)
	}
	_, port, err := net.SplitHostPort(d.listener.Addr().String())
	if err == nil {
		err = os.WriteFile(filepath.Join(d.Dir, "docker"), fmt.Appendf(nil, dockerScript, port), 0o755)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stand in for docker: %w", err), d.listener.Close())
	}
	d.serving.Go(func() { d.serve(ctx) })
	return d, nil
}

// Close stops serving.
func (d *docker) Close() error {
	err := d.listener.Close()
	d.serving.Wait()
	return err
}

// serve answers one command after the other.
func (d *docker) serve(ctx context.Context) {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil {
			d.answer(ctx, conn, strings.Fields(line))
		}
		conn.Close()
	}
}

func (d *docker) answer(ctx context.Context, conn net.Conn, args []string) {
	said, err := d.do(ctx, args)
	if err != nil {
		fmt.Fprintf(conn, "1\n%s\n", err)
		return
	}
	fmt.Fprintf(conn, "0\n%s", said)
}

// stopLimit is after how long docker kills what does not end.
const stopLimit = 10 * time.Second

// do does what `docker ARGS` would, for the commands that suites use.
func (d *docker) do(ctx context.Context, args []string) (string, error) {
	if len(args) < 3 || args[0] != "compose" {
		return "", fmt.Errorf("docker %v: it is not docker, and only stops and starts brokers", args)
	}
	for _, b := range d.cluster.Brokers() {
		if args[len(args)-1] != fmt.Sprintf("kafka-%d", b.ID) {
			continue
		}
		switch args[1] {
		case "stop":
			_, err := b.Stop(stopLimit)
			return "", err
		case "start":
			if b.Running() {
				return "", nil
			}
			return "", b.Start(ctx)
		case "logs":
			return b.Output(), nil
		}
	}
	return "", fmt.Errorf("docker %v: it is not docker, and only stops and starts brokers", args)
}
