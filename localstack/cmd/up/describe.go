package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/localstack/rig"
)

// describe says how to reach everything, and what to try.
func (s *stack) describe(out io.Writer) {
	var b strings.Builder
	all := strings.Join(s.cluster.Addrs(), ",")
	fmt.Fprintf(&b, "\nThe cluster is ready. Bootstrap servers:\n\n  %s\n\n", all)
	for _, broker := range s.cluster.Brokers() {
		fmt.Fprintf(&b, "  %s  kafka %s  events http://%s  admin http://%s  pid %d  %s  log %s\n",
			broker.Name, broker.Addr, broker.HTTP, broker.Admin, broker.Node().PID(), broker.Dir, broker.Log)
	}
	fmt.Fprintf(&b, "\n  MinIO     http://%s  bucket %s  console http://%s\n", s.minio.Addr, rig.MinIOBucket, s.minio.Console)
	fmt.Fprintf(&b, "            user %s, password %s\n", s.minio.AccessKey, s.minio.SecretKey)
	fmt.Fprintf(&b, "  DynamoDB  %s  tables %s-control and %[2]s-offsets, any credentials\n", s.table.Endpoint, tablePrefix)
	fmt.Fprintf(&b, "  Admin API %s/v1  a function URL, signed with access key %s, secret key %s\n", s.url.URL, accessKey, secretKey)

	first, replicas := s.cluster.Brokers()[0], min(3, s.cfg.brokers)
	fmt.Fprintf(&b, "\nTry, in another terminal:\n\n")
	for _, command := range append(tour(s.url.URL, first.HTTP, all, replicas), s.more(all, replicas)...) {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(command, "\n", "\n  "))
	}
	if s.cfg.restart {
		fmt.Fprintf(&b, "  kill -9 %d; rm -rf %s    # a broker and its directory; it comes back\n", first.Node().PID(), first.Dir)
	}
	fmt.Fprintf(&b, "\nCtrl-C ends all of it.\n\n")
	_, _ = io.WriteString(out, b.String())
}

// tour is what a new user pastes, as in the README: a topic made by the admin API, events in by curl and out by kcat.
func tour(api, events, bootstrap string, replicas int) []string {
	const more = " \\\n    "
	return []string{
		"curl --aws-sigv4 aws:amz:us-east-1:lambda --user " + accessKey + ":" + secretKey + " " + api + "/v1/topics" + more +
			`-H 'Content-Type: application/json' -d '{"name": "quakes", "partitions": 6, "replication_factor": ` + strconv.Itoa(replicas) + "}'",
		"curl http://" + events + "/topics/quakes/events -H 'ce-specversion: 1.0' -H 'ce-id: 1'" + more +
			`-H 'ce-source: /me' -H 'ce-type: quake.felt' -H 'Content-Type: application/json' -d '{"mag": 3.1}'`,
		"kcat -C -b " + bootstrap + ` -t quakes -o beginning -e -q -f '%p:%o %s\n'`,
	}
}

// more is what else may be tried.
func (s *stack) more(bootstrap string, replicas int) []string {
	forebay := display(s.cfg.forebay)
	return []string{
		fmt.Sprintf("%s topic create events --partitions 6 --replication-factor %d -b %s", forebay, replicas, bootstrap),
		"seq 100000 | kcat -P -b " + bootstrap + " -t events",
		"kcat -C -b " + bootstrap + " -t events -o beginning -e -q | wc -l",
		forebay + " topic describe events -b " + bootstrap,
		forebay + " health --admin-addr " + s.cluster.Brokers()[0].Admin,
	}
}

// display is a path as short as it can be pasted.
func display(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(short, "..") {
		return short
	}
	return path
}
