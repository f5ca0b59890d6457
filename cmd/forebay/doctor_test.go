package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	open "github.com/forebaylog/forebay/infra/stores"
)

// diagnose runs doctor and returns its exit code and its findings by name.
func diagnose(t *testing.T, args ...string) (int, map[string]finding) {
	t.Helper()
	r := forebay(t, "", append([]string{"doctor", "-o", "json"}, args...)...)
	var all []finding
	require.NoError(t, json.Unmarshal([]byte(r.out), &all), "%s%s", r.out, r.err)
	found := map[string]finding{}
	for _, f := range all {
		found[f.Check] = f
	}
	return r.code, found
}

func TestDoctorOfARunningNode(t *testing.T) {
	node := startBroker(t)
	succeed(t, "", "topic", "create", "events", "--partitions", "3")
	code, found := diagnose(t, "--data-dir", t.TempDir())
	require.Equal(t, exitOK, code, found)
	require.Equal(t, checkOK, found["brokers"].Status)
	require.Equal(t, checkOK, found["address of broker 1"].Status)
	require.Contains(t, found["leaders"].Detail, "3 partitions")
	require.Equal(t, checkOK, found["data directory"].Status)
	require.Contains(t, succeed(t, "", "doctor"), "address of broker 1")
	require.Equal(t, exitOK, node.stop(t), node.err)

	code, found = diagnose(t, "--timeout", "2s")
	require.Equal(t, exitFailed, code)
	require.Equal(t, checkFailed, found["brokers"].Status)
	require.Contains(t, found["brokers"].Mend, "forebay broker")
	require.Contains(t, forebay(t, "", "doctor", "--timeout", "2s").out, "What to do")
}

func TestDoctorWantsBothStores(t *testing.T) {
	for _, args := range [][]string{{"--object-store", "mem://"}, {"--metadata", "dynamodb://x"}, {"--wal-store", "mem://"}, {"--timeout", "0s"}} {
		require.Equal(t, exitUsage, forebay(t, "", append([]string{"doctor"}, args...)...).code, args)
	}
}

func TestDoctorOfStoresThatAreAway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	code, found := diagnose(t, "--timeout", "3s", "--object-store", "file://"+filepath.ToSlash(t.TempDir()),
		"--metadata", "dynamodb://x?region=us-east-1&endpoint="+gone.URL, "--brokers", strings.TrimPrefix(gone.URL, "http://"))
	require.Equal(t, exitFailed, code)
	require.Equal(t, checkFailed, found["tables"].Status)
	require.NotEmpty(t, found["tables"].Mend)
	require.Equal(t, checkOK, found["object store"].Status)
	require.Equal(t, checkWarning, found["clock"].Status)
	require.Equal(t, checkSkipped, found["metadata"].Status)
}

func TestDoctorTellsClockOffset(t *testing.T) {
	for _, off := range []time.Duration{0, -time.Hour, 10 * time.Second} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(-off).UTC().Format(http.TimeFormat))
		}))
		got, err := clockOffset(t.Context(), server.URL)
		server.Close()
		require.NoError(t, err)
		require.InDelta(t, off.Seconds(), got.Seconds(), 1, off)
	}
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }))
	defer silent.Close()
	_, err := clockOffset(t.Context(), silent.URL)
	require.ErrorContains(t, err, "no date")
}

func TestDoctorFindsServices(t *testing.T) {
	for text, want := range map[string]string{
		"s3://b/p?region=eu-central-1":                  "https://s3.eu-central-1.amazonaws.com",
		"s3://b":                                        "https://s3.us-west-2.amazonaws.com",
		"s3://b?endpoint=http://127.0.0.1:9000":         "http://127.0.0.1:9000",
		"dynamodb://t?region=eu-west-1":                 "https://dynamodb.eu-west-1.amazonaws.com",
		"minio://127.0.0.1:9000/b":                      "http://127.0.0.1:9000",
		"minio://store.example.org/b?secure=true":       "https://store.example.org",
		"file:///x":                                     "",
		"bolt:///x":                                     "",
		"dynamodb://t?endpoint=http://127.0.0.1:4567&x": "http://127.0.0.1:4567",
	} {
		require.Equal(t, want, serviceURL(text, "us-west-2"), text)
	}
}

// doctored is a diagnosis of a cluster of one broker, whose session is alive, at an address.
func doctored(t *testing.T, address string) *diagnosis {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := net.LookupPort("tcp", port)
	require.NoError(t, err)
	run := id.NewSession()
	image := metalog.NewImage("cluster", metalog.BrokerRegistered{
		ID: 1, Incarnation: run, Endpoints: []metalog.Endpoint{{Listener: "PLAINTEXT", Host: host, Port: int32(number)}},
	}, metalog.BrokerRegistered{ID: 2, Incarnation: id.NewSession()})
	return &diagnosis{
		flags:   doctorFlags{client: clientFlags{timeout: 3 * time.Second}},
		cluster: &doctoredCluster{image, []session.Seen{{Node: 1, Session: run}}},
	}
}

func TestDoctorRefusesAnAddressOfAnotherCluster(t *testing.T) {
	node := startBroker(t)
	d := doctored(t, node.addr)
	d.checkAdvertised(t.Context())
	require.Equal(t, checkFailed, d.findings[0].Status)
	require.Contains(t, d.findings[0].Detail, "another cluster")
	require.Contains(t, d.findings[0].Mend, "--advertised-listeners")
	require.Equal(t, finding{Check: "broker 2", Status: checkWarning, Detail: "not running", Mend: d.findings[1].Mend}, d.findings[1])
	require.Equal(t, exitOK, node.stop(t), node.err)
}

func TestDoctorTellsWhoseStoresTheyAre(t *testing.T) {
	d := doctored(t, "127.0.0.1:1")
	offsets, objects, newest := kv.NewMem(), objstore.NewMem(), objstore.NewMem()
	require.NoError(t, d.checkIdentity(t.Context(), offsets, objects, newest), "not marked yet")
	require.NoError(t, offsets.Write(t.Context(), kv.Write{Key: open.IdentityKey, Value: []byte("cluster")})[0].Err)
	require.NoError(t, objects.Put(t.Context(), open.Identity, strings.NewReader("cluster")))
	require.NoError(t, d.checkIdentity(t.Context(), offsets, objects, newest))
	require.NoError(t, newest.Put(t.Context(), "wal/"+open.Identity, strings.NewReader("other")))
	require.ErrorContains(t, d.checkIdentity(t.Context(), offsets, objects, newest), "the WAL store")
	require.NoError(t, d.checkIdentity(t.Context(), offsets, objects, objects))
}

func TestDoctorKnowsAMend(t *testing.T) {
	for _, m := range mends {
		require.Equal(t, m.mend, mend(errors.Join(errors.New("x"), m.err)))
	}
	require.Contains(t, mend(&net.DNSError{Name: "b1.log"}), "b1.log")
	require.Empty(t, mend(errors.New("x")))
	_, err := leaders(3, 1)
	require.ErrorContains(t, err, "1 of 3")
	_, err = checkDataDir(filepath.Join(t.TempDir(), "none"))
	require.NotEmpty(t, mend(err))
}
