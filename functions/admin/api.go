// Package admin is the admin API of a cluster: HTTP and JSON under /v1, described by docs/openapi.yaml. It
// stands on the metadata log, the tables and the bucket alone, so that a Lambda function serves it as well as a
// broker, with brokers up or down. What may be changed is decided by package broker/admin, as
// for Kafka's own APIs; every change and who asked for it are in one slot of the metadata log.
//
// An answer is as true as the metadata log at the time of the request, which is looked at for each; what is
// read of chains, streams and groups is newer or as new. Errors are problems (RFC 9457) that name Kafka's error. Who the caller
// is, and what it may do, is the business of the server in front: see Guard.
//
// The environment is read by mains. An API is safe for concurrent use, and must be closed.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/survey"
	"github.com/forebaylog/forebay/tiering/wal"
)

// Version is that of the API; its major is that of the path.
const Version = "1.0.0"

// errNoBroker says that the broker is not open, or not yet again.
var errNoBroker = errors.New("the broker is not open: try again")

// ErrNoCluster says that no broker has ever run on the stores.
var ErrNoCluster = errors.New("no cluster in these stores: start a broker first")

// Config of an API. Metadata, Offsets and Objects must be set; the zero value of another field selects
// its default. The stores are the caller's.
type Config struct {
	Metadata, Offsets kv.Store
	Objects           objstore.Store // packs and snapshots
	WAL               objstore.Store // WAL objects; nil: Objects
	// Log returns the metadata log to use, which is its owner's, or nil while there is none: a broker's own, which learns of
	// changes in no other way if it is a node alone. If Log is nil, the API opens one of its own.
	Log func() *metalog.Log
	// End tells where what is committed of a partition ends, or false if that is not known; nil: only the stores
	// tell. A node alone has its newest records on its disk.
	End func(id.Partition) (id.Offset, bool)
	// Settings tells what topics get where a request leaves the choice; nil: Kafka's defaults.
	Settings func() Settings
	// SessionTTL is after how long without a renewal a broker counts as dead: 3 s, as the brokers'.
	SessionTTL time.Duration
	// CacheBytes bounds what is kept of packs: 16 MiB.
	CacheBytes int64

	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // nil discards
}

func (c Config) withDefaults() Config {
	if c.Settings == nil {
		c.Settings = func() Settings { return Settings{} }
	}
	if c.SessionTTL <= 0 {
		c.SessionTTL = session.DefaultTTL
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 16 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// API serves the operations.
type API struct {
	cfg    Config
	mux    *http.ServeMux
	huma   huma.API
	cold   *cold.Reader
	survey *survey.Reader
	groups *offsets.Table // for reading only

	opening chan struct{} // held by who opens the metadata log
	meta    *metalog.Log  // nil until the first request
}

// New returns an API; it does no I/O.
func New(cfg Config) *API {
	cfg = cfg.withDefaults()
	all := cfg.Objects
	if cfg.WAL != nil {
		all = objstore.Route(all, wal.ObjectPrefix, cfg.WAL)
	}
	a := &API{
		cfg: cfg, mux: http.NewServeMux(), groups: offsets.Open(cfg.Offsets, offsets.Sole), opening: make(chan struct{}, 1),
		cold: cold.New(all, cold.Config{CacheBytes: cfg.CacheBytes, FooterBytes: cfg.CacheBytes / 2, Logger: cfg.Logger}),
	}
	a.survey = &survey.Reader{Table: cfg.Metadata, Objects: all, Cold: a.cold}
	a.huma = humago.New(a.mux, humaConfig())
	a.register()
	return a
}

// humaConfig is what the API looks like as a whole.
func humaConfig() huma.Config {
	setHuma()
	c := huma.DefaultConfig("Forebay admin API", Version)
	c.Info.Description = "Administers a Forebay cluster, with its brokers up or down."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "/v1/openapi", "", ""
	c.CreateHooks = nil // no $schema in answers
	c.RejectUnknownQueryParameters = true
	return c
}

// register adds all operations.
func (a *API) register() {
	a.registerCluster()
	a.registerFeatures()
	a.registerTopics()
	a.registerPartitions()
	a.registerConfigs()
	a.registerBrokers()
	a.registerMoves()
	a.registerGroups()
	a.registerGroupChanges()
	a.registerStorage()
	a.registerHistory()
}

// ServeHTTP implements http.Handler. Whoever gets here may do everything: see Guard.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	none := noOperation{header: http.Header{}} // the mux answers in plain text
	if h.ServeHTTP(&none, r); none.status == http.StatusMethodNotAllowed {
		allow := none.header.Get("Allow")
		w.Header().Set("Allow", allow)
		writeProblem(w, problem(none.status, r.URL.Path+" takes no "+r.Method+": use "+allow))
		return
	}
	writeProblem(w, problem(http.StatusNotFound, "there is nothing at "+r.URL.Path+": GET /v1/openapi.yaml describes what there is"))
}

// noOperation takes what the mux says of a request that is for no operation.
type noOperation struct {
	header http.Header
	status int
}

func (n *noOperation) Header() http.Header         { return n.header }
func (n *noOperation) WriteHeader(status int)      { n.status = status }
func (n *noOperation) Write(b []byte) (int, error) { return len(b), nil }

// OpenAPI describes the API, in YAML.
func (a *API) OpenAPI() ([]byte, error) { return a.huma.OpenAPI().YAML() }

// image returns the metadata as of now.
func (a *API) image(ctx context.Context) (*metalog.Image, error) {
	meta, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := meta.Refresh(ctx); err != nil {
		return nil, err
	}
	return meta.Image(), nil
}

// open returns the metadata log, which stays open between requests. It fails with ErrNoCluster rather than
// make one.
func (a *API) open(ctx context.Context) (*metalog.Log, error) {
	if a.cfg.Log != nil {
		if meta := a.cfg.Log(); meta != nil {
			return meta, nil
		}
		return nil, errNoBroker
	}
	select {
	case a.opening <- struct{}{}:
		defer func() { <-a.opening }()
	case <-ctx.Done():
		return nil, fmt.Errorf("open metadata log: %w", ctx.Err())
	}
	if a.meta != nil {
		return a.meta, nil
	}
	img, err := metalog.Load(ctx, a.cfg.Metadata, a.cfg.Objects)
	if err != nil {
		return nil, err
	}
	if img.ClusterID() == "" {
		return nil, ErrNoCluster
	}
	meta, err := metalog.Open(ctx, metalog.Options{Store: a.cfg.Metadata, Objects: a.cfg.Objects, Logger: a.cfg.Logger})
	if err != nil {
		return nil, err
	}
	a.meta = meta
	return meta, nil
}

// Close ends what goes on in the background. Requests must have ended.
func (a *API) Close(ctx context.Context) error {
	err := a.cold.Close(ctx)
	if a.meta != nil {
		err = errors.Join(err, a.meta.Close(ctx))
	}
	return err
}
