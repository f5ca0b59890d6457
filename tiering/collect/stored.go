package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/objstore"
)

// reportSuffix is what the name of a look's report ends with. It is for people and nothing depends on it: the
// report of the newest look that has ended without a failure stays until the next one has.
const reportSuffix = ".report"

// storedVersion is the one version of a stored report so far.
const storedVersion = 1

// StoredReport is a report as JSON, in the object store.
type StoredReport struct {
	V      int       `json:"v"`
	Stored time.Time `json:"-"` // when, by the object store
	Report Report    `json:"report"`
}

// keepReport stores the report, and removes those of the looks before.
func (r *run) keepReport(ctx context.Context) error {
	b, err := json.Marshal(StoredReport{V: storedVersion, Report: r.report})
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := r.cfg.Objects.Put(ctx, ObjectPrefix+r.report.Look+reportSuffix, bytes.NewReader(b)); err != nil {
		return fmt.Errorf("store the report: %w", err)
	}
	for _, info := range r.own {
		if !strings.HasSuffix(info.Key, reportSuffix) {
			continue
		}
		if err := r.cfg.Objects.Delete(ctx, info.Key); err != nil {
			return fmt.Errorf("remove the reports of the looks before: %w", err)
		}
	}
	return nil
}

// LastReport reads the report of the newest look; it fails with objstore.ErrNotFound if there is none, and with ErrCorrupt or
// ErrVersion.
func LastReport(ctx context.Context, objects objstore.Store) (StoredReport, error) {
	var newest objstore.Info
	for info, err := range objects.List(ctx, ObjectPrefix, "") {
		if err != nil {
			return StoredReport{}, fmt.Errorf("find the collector's report: %w", err)
		}
		if strings.HasSuffix(info.Key, reportSuffix) && !info.Modified.Before(newest.Modified) {
			newest = info
		}
	}
	if newest.Key == "" {
		return StoredReport{}, fmt.Errorf("find the collector's report: %w: no look has ended yet", objstore.ErrNotFound)
	}
	b, err := readObject(ctx, objects, newest)
	if err != nil {
		return StoredReport{}, fmt.Errorf("read the collector's report: %w", err)
	}
	s := StoredReport{Stored: newest.Modified}
	err = json.Unmarshal(b, &s)
	switch {
	case err != nil:
		return s, fmt.Errorf("read the collector's report %s: %w", newest.Key, errors.Join(ErrCorrupt, err))
	case s.V != storedVersion:
		return s, fmt.Errorf("read the collector's report %s: %w: version %d, this one knows %d", newest.Key, ErrVersion, s.V, storedVersion)
	}
	return s, nil
}
