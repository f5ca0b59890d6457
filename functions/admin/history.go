package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/collect"
)

// AuditedChange is a change that somebody has asked for.
type AuditedChange struct {
	Version  uint64           `json:"metadata_version" doc:"The slot of the metadata log that has the change and this, and the version of the metadata that has it first"`
	At       time.Time        `json:"at" doc:"By the clock of who carried it out"`
	By       string           `json:"by" doc:"Principal: a user of the brokers, or an ARN"`
	Via      metalog.Via      `json:"via"`
	Action   string           `json:"action" example:"topic.create"`
	Resource metalog.Resource `json:"resource"`
	Key      string           `json:"idempotency_key,omitempty"`
	Records  int              `json:"records" doc:"Of the metadata log, that are the change"`
}

// Audit is a page of changes.
type Audit struct {
	Changes []AuditedChange `json:"changes" doc:"In the order in which they were made"`
	Page
}

type auditInput struct {
	Size      int       `query:"page_size" minimum:"1" maximum:"10000" default:"100"`
	Token     string    `query:"page_token" doc:"next_page_token of the page before"`
	Since     time.Time `query:"since" doc:"Only changes from this time on"`
	Principal string    `query:"principal"`
	Action    string    `query:"action" doc:"Also the beginning of one, such as topic."`
	Resource  string    `query:"resource" doc:"TYPE or TYPE/NAME, such as topic/orders"`
}

// CollectorReport is what the last look of the collector has found and done.
type CollectorReport struct {
	Ended  time.Time      `json:"ended" doc:"By the object store's clock"`
	Report collect.Report `json:"report"`
}

func (a *API) registerHistory() {
	handle(a, read("list-audit", "/audit", "audit", "Who has changed what"), a.audit)
	handle(a, read("get-collector", "/collector", "storage", "What the collector has found superfluous and removed, the last time it has looked", http.StatusNotFound),
		func(ctx context.Context, _ *struct{}) (CollectorReport, error) {
			last, err := collect.LastReport(ctx, a.cfg.Objects)
			if errors.Is(err, objstore.ErrNotFound) {
				return CollectorReport{}, problem(http.StatusNotFound, err.Error())
			}
			return CollectorReport{Ended: last.Stored, Report: last.Report}, err
		})
}

// auditPage is how many slots are read at a time.
const auditPage = 1000

// cursor is where a page of the audit ends.
type cursor struct {
	Slot  uint64 `json:"s"`
	Index int    `json:"i"`
}

func (a *API) audit(ctx context.Context, in *auditInput) (Audit, error) {
	var after cursor
	if in.Token != "" {
		b, err := base64.RawURLEncoding.DecodeString(in.Token)
		if err != nil || json.Unmarshal(b, &after) != nil {
			return Audit{}, problem(http.StatusBadRequest, "page_token: it is none that this API has given")
		}
	}
	from, err := metalog.ArchivedSince(ctx, a.cfg.Objects, in.Since)
	if err != nil {
		return Audit{}, err
	}
	out := Audit{Changes: []AuditedChange{}}
	for from = max(from, after.Slot); ; {
		slots, err := metalog.History(ctx, a.cfg.Metadata, a.cfg.Objects, from, auditPage)
		if err != nil {
			return Audit{}, err
		}
		for _, s := range slots {
			for _, e := range s.Audit() {
				switch {
				case !in.match(e.Audited), e.Slot == after.Slot && e.Index <= after.Index && in.Token != "":
				case len(out.Changes) == in.Size:
					out.Next = base64.RawURLEncoding.EncodeToString([]byte(`{"s":` + strconv.FormatUint(after.Slot, 10) + `,"i":` + strconv.Itoa(after.Index) + `}`))
					return out, nil
				default:
					out.Changes = append(out.Changes, changeOf(e))
					after, in.Token = cursor{e.Slot, e.Index}, "set"
				}
			}
		}
		if len(slots) < auditPage {
			return out, nil
		}
		from = slots[len(slots)-1].Seq + 1
	}
}

func changeOf(e metalog.AuditEntry) AuditedChange {
	a := e.Audited
	return AuditedChange{
		Version: e.Slot, At: time.UnixMilli(a.At).UTC(), By: a.By, Via: a.Via, Action: a.Action, Resource: a.Resource, Key: a.Key, Records: len(e.Changes),
	}
}

func (in *auditInput) match(a metalog.Audited) bool {
	typ, name, named := strings.Cut(in.Resource, "/")
	switch {
	case time.UnixMilli(a.At).Before(in.Since),
		in.Principal != "" && a.By != in.Principal,
		!strings.HasPrefix(a.Action, in.Action),
		in.Resource != "" && string(a.Resource.Type) != typ:
		return false
	}
	return !named || a.Resource.Name == name
}
