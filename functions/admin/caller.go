package admin

import (
	"context"
	"net/http"
	"strconv"
)

// Caller is who sends a request, as the server in front has found out.
type Caller struct {
	Principal string // as the audit has it, such as User:alice or an ARN
	Client    string // what the client calls itself
	Address   string // where the request comes from
	Request   string // method and path
	Writes    bool   // it may change things
}

type callerKey struct{}

// callerOf is the caller of a request; without a Guard nobody in particular.
func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	if c.Principal == "" {
		c.Principal = "User:ANONYMOUS"
	}
	return c
}

// keyOf is the idempotency key of the change number i of a request.
func keyOf(key string, i int) string {
	if i == 0 {
		return key
	}
	return key + "#" + strconv.Itoa(i)
}

// Refusal is why a request is not served.
type Refusal struct {
	Status int // 400, 401, 403 or 503
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Detail }

// Guard serves requests of the callers that who finds, and those that change things only of callers that may.
// who fails with a *Refusal; any other error is one of 403.
func Guard(h http.Handler, who func(*http.Request) (Caller, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := who(r)
		if err == nil && !caller.Writes && r.Method != http.MethodGet && r.Method != http.MethodHead {
			err = &Refusal{http.StatusForbidden, caller.Principal + " may read and change nothing"}
		}
		if err != nil {
			Refuse(w, err)
			return
		}
		caller.Client, caller.Request = r.UserAgent(), r.Method+" "+r.URL.Path
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
	})
}

// Refuse answers with a problem: that of a *Refusal, or one of 403.
func Refuse(w http.ResponseWriter, err error) {
	status := http.StatusForbidden
	if r, ok := err.(*Refusal); ok { //nolint:errorlint // who returns it as it is
		status = r.Status
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="forebay"`)
	}
	writeProblem(w, problem(status, err.Error()))
}
