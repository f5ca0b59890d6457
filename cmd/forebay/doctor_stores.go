package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	open "github.com/forebaylog/forebay/infra/stores"
	"github.com/forebaylog/forebay/tiering/wal"
)

// doctoredCluster is what the metadata says of the cluster.
type doctoredCluster struct {
	image    *metalog.Image
	sessions []session.Seen
}

// checkStores tries from here what a broker does with its stores.
func (d *diagnosis) checkStores(ctx context.Context, log *slog.Logger) {
	f := d.flags.stores
	var control, offsets kv.Store
	tables := d.check(ctx, "tables", func(ctx context.Context) (_ string, err error) {
		control, offsets, err = openDoctored(ctx, f.metadata, log)
		return storeName(f.metadata), err
	})
	if tables {
		defer func() { _ = errors.Join(control.Close(), offsets.Close()) }()
		d.check(ctx, "conditional writes", func(ctx context.Context) (string, error) {
			return "of both tables", open.Probe(ctx, control, offsets)
		})
	}
	objects := d.bucket(ctx, "object store", f.objectStore)
	if objects != nil {
		defer func() { _ = objects.Close() }()
	}
	newest := objects
	if f.walStore != "" {
		if newest = d.bucket(ctx, "WAL store", f.walStore); newest != nil {
			defer func() { _ = newest.Close() }()
		}
	}
	d.checkClocks(ctx)
	if !tables || objects == nil || newest == nil {
		d.skip("metadata", "the stores do not work")
		return
	}
	d.check(ctx, "metadata", func(ctx context.Context) (string, error) { return d.readMetadata(ctx, control, objects) })
	if d.cluster != nil && d.cluster.image.ClusterID() != "" {
		d.check(ctx, "one cluster", func(ctx context.Context) (string, error) {
			return "the stores belong together", d.checkIdentity(ctx, offsets, objects, newest)
		})
	}
}

// openDoctored opens tables and makes none.
func openDoctored(ctx context.Context, text string, log *slog.Logger) (control, offsets kv.Store, err error) {
	if scheme, _, _ := strings.Cut(text, ":"); scheme != "dynamodb" {
		return nil, nil, usageErrorf("unknown scheme %q: want dynamodb://table-prefix", scheme)
	}
	cfg, err := kv.ParseDynamoURL(text)
	if err != nil {
		return nil, nil, err
	}
	cfg.Logger, cfg.Create = log, false
	return kv.OpenDynamoTables(ctx, cfg)
}

// bucket opens an object store and tries it, with what the collector does beside; nil if it does not work.
func (d *diagnosis) bucket(ctx context.Context, name, text string) (s objstore.Store) {
	works := d.check(ctx, name, func(ctx context.Context) (_ string, err error) {
		s, err = open.Objects(ctx, text, nil)
		return storeName(text), err
	})
	if !works {
		return nil
	}
	d.check(ctx, "unfinished uploads, "+name, func(ctx context.Context) (string, error) {
		n, oldest := 0, time.Now()
		for u, err := range objstore.Unfinished(ctx, s) {
			if err != nil {
				return "", warn("allow ListBucketMultipartUploads to whoever runs the collector", "list unfinished uploads: %w", err)
			}
			n++
			if u.Begun.Before(oldest) {
				oldest = u.Begun
			}
		}
		if age := time.Since(oldest); age > 48*time.Hour {
			return "", warn("run the collector, or give the bucket a lifecycle rule that aborts them", "%d, the oldest %v old", n, age.Round(time.Hour))
		}
		return fmt.Sprint(n), nil
	})
	return s
}

// How far this machine's clock may be off. Signatures are refused from 5 minutes on; the times of records
// and the ages by which segments are rolled and retained are off by as much.
const (
	clockWarning = time.Second
	clockLimit   = 2 * time.Minute
)

// checkClocks compares the clock with those of the services, by the Date of an answer of theirs.
func (d *diagnosis) checkClocks(ctx context.Context) {
	asked := map[string]bool{}
	for _, text := range []string{d.flags.stores.metadata, d.flags.stores.objectStore, d.flags.stores.walStore} {
		address := serviceURL(text, cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")))
		if address == "" || asked[address] {
			continue
		}
		asked[address] = true
		d.check(ctx, "clock", func(ctx context.Context) (string, error) {
			off, err := clockOffset(ctx, address)
			if err != nil {
				return "", warn("", "the time of %s is not known: %w", address, err)
			}
			found := fmt.Sprintf("within %v of %s", off.Abs().Round(time.Millisecond), address)
			const set = "set this machine's clock, for example with chrony and the Amazon Time Sync Service at 169.254.169.123"
			switch {
			case off.Abs() > clockLimit:
				return "", mendable(set, "%v off that of %s", off.Round(time.Millisecond), address)
			case off.Abs() > clockWarning:
				return "", warn(set, "%v off that of %s", off.Round(time.Millisecond), address)
			}
			return found, nil
		})
	}
	if len(asked) == 0 {
		d.skip("clock", "the stores are on this machine")
	}
}

// serviceURL is where the service behind a store's URL answers HTTP, "" if it has no clock of its own.
func serviceURL(text, region string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	q := u.Query()
	region = cmp.Or(q.Get("region"), region)
	switch service := map[string]string{"s3": "s3", "dynamodb": "dynamodb"}[u.Scheme]; {
	case u.Scheme == "minio" && q.Get("secure") == "true":
		return "https://" + u.Host
	case u.Scheme == "minio":
		return "http://" + u.Host
	case service == "":
		return ""
	case q.Get("endpoint") != "":
		return q.Get("endpoint")
	case region != "":
		return "https://" + service + "." + region + ".amazonaws.com"
	}
	return ""
}

// clockOffset is how far this machine's clock is ahead of that of a service, to half a second: Date has
// whole seconds, and the time of the answer is taken off.
func clockOffset(ctx context.Context, address string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	took := time.Since(began)
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, fmt.Errorf("its answer has no date: %w", err)
	}
	off := began.Add(took / 2).Sub(date.Add(500 * time.Millisecond))
	if slack := 500*time.Millisecond + took/2; off.Abs() <= slack { // as far as it can be told
		return 0, nil
	}
	return off, nil
}

// readMetadata folds the metadata and looks who is alive.
func (d *diagnosis) readMetadata(ctx context.Context, control kv.Store, objects objstore.Store) (string, error) {
	image, err := metalog.Load(ctx, control, objects)
	if err != nil {
		return "", err
	}
	if image.ClusterID() == "" {
		return "", warn("start a broker on these stores: the first one makes the cluster", "there is no cluster yet")
	}
	sessions, _, err := watchSessions(ctx, control, 0)
	if err != nil {
		return "", err
	}
	d.cluster = &doctoredCluster{image, sessions}
	return fmt.Sprintf("cluster %s at version %d: %d topics, %d brokers, %d sessions",
		image.ClusterID(), image.Version(), len(image.Topics()), len(image.Brokers()), len(sessions)), nil
}

// checkIdentity makes sure that all stores are of the cluster that the metadata is of.
func (d *diagnosis) checkIdentity(ctx context.Context, offsets kv.Store, objects, newest objstore.Store) error {
	cluster := d.cluster.image.ClusterID()
	marks := map[string]func() (string, error){
		"the object store":  func() (string, error) { return readMark(ctx, objects, open.Identity) },
		"the offsets table": func() (string, error) { return readOffsetsMark(ctx, offsets) },
	}
	if newest != objects {
		marks["the WAL store"] = func() (string, error) { return readMark(ctx, newest, wal.ObjectPrefix+open.Identity) }
	}
	for what, read := range marks {
		found, err := read()
		if err != nil {
			return fmt.Errorf("find out which cluster %s belongs to: %w", what, err)
		}
		if found != "" && found != cluster {
			return fmt.Errorf("%s %w: it is of cluster %s, the metadata of %s", what, broker.ErrForeign, found, cluster)
		}
	}
	return nil
}

// readMark reads the object that marks whose a bucket is; "" if there is none.
func readMark(ctx context.Context, s objstore.Store, object string) (string, error) {
	mark := make([]byte, 256)
	n, err := s.ReadAt(ctx, object, mark, 0)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return "", nil
	case err != nil && !errors.Is(err, io.EOF):
		return "", err
	}
	return string(mark[:n]), nil
}

func readOffsetsMark(ctx context.Context, offsets kv.Store) (string, error) {
	item, err := offsets.Get(ctx, open.IdentityKey)
	if errors.Is(err, kv.ErrNotFound) {
		return "", nil
	}
	return string(item.Value), err
}
