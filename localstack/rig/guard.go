package rig

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/forebaylog/forebay/infra/rights"
	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// Guard refuses what the policy of a client's job does not allow, as AWS would, and notes which
// rights were made use of. It is safe for concurrent use.
type Guard struct {
	place  rights.Place
	jobs   map[string]rights.Job
	remove []func()

	mu     sync.Mutex
	used   map[rights.Job]map[string]bool // statement, action and resource
	denied map[string]bool
}

// Guard guards the proxies of a cluster from now on. jobs are those of the proxies' clients; others are let through.
func (c *Cluster) Guard(at rights.Place, jobs map[string]rights.Job) (*Guard, error) {
	g := &Guard{place: at, jobs: jobs, used: map[rights.Job]map[string]bool{}, denied: map[string]bool{}}
	for _, job := range jobs {
		if _, err := rights.Policy(job, at); err != nil {
			return nil, err
		}
	}
	for _, p := range []*faultproxy.Proxy{c.Store, c.Table} {
		g.remove = append(g.remove, p.Add(faultproxy.Rule{Name: "denied", Match: faultproxy.Match{When: g.denies}, Action: faultproxy.Deny()}))
	}
	return g, nil
}

// Close lets everything through again.
func (g *Guard) Close() {
	for _, f := range g.remove {
		f()
	}
}

// Denied are the calls that were refused, each once: job, action and resource.
func (g *Guard) Denied() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.denied))
}

// Unused are the rights of a job that were not made use of: statement, action and resource.
func (g *Guard) Unused(job rights.Job) ([]string, error) {
	policy, err := rights.Policy(job, g.place)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var unused []string
	for _, s := range policy.Statement {
		for _, action := range s.Action {
			for _, resource := range s.Resource {
				if right := strings.Join([]string{s.Sid, action, resource}, " "); !g.used[job][right] {
					unused = append(unused, right)
				}
			}
		}
	}
	return unused, nil
}

func (g *Guard) denies(r *faultproxy.Request) bool {
	job, guarded := g.jobs[r.Client]
	if !guarded {
		return false
	}
	policy, err := rights.Policy(job, g.place)
	if err != nil {
		return true // cannot be: see Cluster.Guard
	}
	call := g.call(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	s := policy.Allowing(call)
	if s == nil {
		g.denied[fmt.Sprintf("%s: %s on %s", job, call.Action, call.Resource)] = true
		return true
	}
	if g.used[job] == nil {
		g.used[job] = map[string]bool{}
	}
	for _, resource := range s.Resource {
		one := rights.Document{Statement: []rights.Statement{{Action: []string{call.Action}, Resource: []string{resource}, Condition: s.Condition}}}
		if one.Allowing(call) != nil {
			g.used[job][strings.Join([]string{s.Sid, call.Action, resource}, " ")] = true
		}
	}
	return false
}

// call is what a request asks for in IAM's terms.
func (g *Guard) call(r *faultproxy.Request) rights.Call {
	if r.Operation != "" {
		return rights.Call{Action: "dynamodb:" + r.Operation, Resource: g.place.Table(tableOf(r.Body))}
	}
	bucket, key, object := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	if object && key != "" {
		return rights.Call{Action: objectAction(r), Resource: g.place.Object(bucket, key)}
	}
	c := rights.Call{Action: "s3:ListBucket", Resource: g.place.Object(bucket, ""), Prefix: r.Query.Get("prefix")}
	if r.Query.Has("uploads") {
		c.Action = "s3:ListBucketMultipartUploads"
	}
	return c
}

// objectAction is the right that a request about an object asks for.
func objectAction(r *faultproxy.Request) string {
	switch {
	case r.Method == http.MethodDelete && r.Query.Has("uploadId"):
		return "s3:AbortMultipartUpload"
	case r.Method == http.MethodDelete:
		return "s3:DeleteObject"
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		return "s3:PutObject"
	}
	return "s3:GetObject"
}

// tableOf is the table that the body of a request to DynamoDB names.
func tableOf(body []byte) string {
	_, rest, _ := strings.Cut(string(body), `"TableName":"`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}
