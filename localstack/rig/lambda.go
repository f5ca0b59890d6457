package rig

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Lambda runs a bootstrap as AWS Lambda does: it serves the runtime API, by which the process asks
// for invocations and answers them. One instance, one invocation at a time; between them the process is not frozen.
type Lambda struct {
	*Process
	server  *http.Server
	work    chan invocation
	mu      sync.Mutex
	waiting map[string]chan answer
	count   int
	once    sync.Once
	ready   chan struct{} // closed when the process first asks for an invocation
	began   time.Time
	init    time.Duration // what it took until then; read after ready
}

// invocation is what a function is asked to do.
type invocation struct {
	id       string
	body     []byte
	deadline time.Time
}

// answer is what came of it.
type answer struct {
	body   []byte
	failed bool
}

// ErrFunction says that the function has answered with an error.
var ErrFunction = errors.New("function failed")

// BuildFunction builds functions/NAME for this machine into the directory out, and returns the path of
// the bootstrap.
func BuildFunction(ctx context.Context, name, out string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	bootstrap := filepath.Join(out, name, "bootstrap")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", bootstrap, "./functions/"+name)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0") // as make functions does
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build function %s: %w\n%s", name, err, said)
	}
	return bootstrap, nil
}

// LambdaConfig says which function to start, and how.
type LambdaConfig struct {
	Bootstrap string   // path of the built bootstrap
	Env       []string // added to the environment, NAME=value
	Name      string   // by which messages call it; default function
	Attachment
}

// StartLambda starts a bootstrap with env added to its environment. ctx bounds its life.
func StartLambda(ctx context.Context, bootstrap string, env ...string) (*Lambda, error) {
	return LambdaConfig{Bootstrap: bootstrap, Env: env}.Start(ctx)
}

// Start serves the runtime API on a free loopback port and starts the bootstrap. ctx bounds its life.
func (cfg LambdaConfig) Start(ctx context.Context) (*Lambda, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the runtime API: %w", err)
	}
	f := &Lambda{work: make(chan invocation), waiting: map[string]chan answer{}, ready: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", f.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { f.answered(w, r, false) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { f.answered(w, r, true) })
	f.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = f.server.Serve(l) }() // returns when Close closes it
	cmd := exec.CommandContext(ctx, cfg.Bootstrap)
	cmd.Env = slices.Concat(os.Environ(), []string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String()}, cfg.Env)
	f.began = time.Now()
	if f.Process, err = cfg.start(cmp.Or(cfg.Name, "function"), cmd); err != nil {
		return nil, errors.Join(err, f.server.Close())
	}
	return f, nil
}

// next hands the bootstrap an invocation, and lets it wait until there is one.
func (f *Lambda) next(w http.ResponseWriter, r *http.Request) {
	f.once.Do(func() {
		f.init = time.Since(f.began)
		close(f.ready)
	})
	select {
	case <-r.Context().Done():
	case in := <-f.work:
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", in.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(in.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:local:0:function:"+in.id)
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(in.body) // a bootstrap that is gone is seen by Invoke
	}
}

// Init waits until the process is initialized, and returns how long that has taken from its start.
func (f *Lambda) Init(ctx context.Context) (time.Duration, error) {
	select {
	case <-f.ready:
		return f.init, nil
	case <-f.Done():
		return 0, fmt.Errorf("initialize a function: its process has ended:\n%s", f.Output())
	case <-ctx.Done():
		return 0, fmt.Errorf("initialize a function: %w\n%s", context.Cause(ctx), f.Output())
	}
}

// answered takes what came of an invocation.
func (f *Lambda) answered(w http.ResponseWriter, r *http.Request, failed bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 6<<20))
	f.mu.Lock()
	to := f.waiting[r.PathValue("id")]
	f.mu.Unlock()
	if err != nil || to == nil {
		http.Error(w, "no such invocation", http.StatusForbidden)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	to <- answer{body, failed}
}

// Invoke invokes the function, which may take as long as limit, and decodes its answer. It fails with ErrFunction
// and with what the function said, or when the process ends.
func (f *Lambda) Invoke(ctx context.Context, limit time.Duration, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("invoke a function: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f.mu.Lock()
	f.count++
	in := invocation{id: fmt.Sprintf("invocation-%d", f.count), body: body, deadline: time.Now().Add(limit)}
	to := make(chan answer, 1)
	f.waiting[in.id] = to
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.waiting, in.id)
		f.mu.Unlock()
	}()
	work := f.work
	for {
		select {
		case work <- in:
			work = nil
		case a := <-to:
			if a.failed {
				return fmt.Errorf("%w: %s", ErrFunction, a.body)
			}
			return json.Unmarshal(a.body, response)
		case <-f.Done():
			return fmt.Errorf("invoke a function: its process has ended:\n%s", f.Output())
		case <-ctx.Done():
			return fmt.Errorf("invoke a function: %w\n%s", context.Cause(ctx), f.Output())
		}
	}
}

// Close kills the process and ends the runtime API.
func (f *Lambda) Close() error { return errors.Join(f.Kill(), f.server.Close()) }
