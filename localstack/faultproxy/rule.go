package faultproxy

import (
	"net/http"
	"net/url"
	"strings"
)

// Rule says what happens to some requests.
type Rule struct {
	Name   string  // what it is counted under
	Match  Match   // which requests
	Chance float64 // of a request that matches, 0 to 1; 0 means every one
	Times  int     // it strikes at most so often; 0: no limit
	Action Action
}

// Match selects requests; what is empty does not matter.
type Match struct {
	Client    string              // who sends it: the name that its listener was opened with
	Method    string              // of HTTP
	Operation string              // of DynamoDB: the part of X-Amz-Target after the point, such as PutItem
	Path      string              // a part of the path
	Body      string              // a part of the body
	NotBody   string              // no part of the body
	When      func(*Request) bool // nil: any; called concurrently, for those that the rest selects
}

// Request is one request, as rules see it.
type Request struct {
	Client    string
	Method    string
	Operation string // of DynamoDB, else empty
	Path      string // unescaped
	Query     url.Values
	Body      []byte
}

// newRequest describes r, whose body has been read.
func newRequest(client string, r *http.Request, body []byte) *Request {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return &Request{Client: client, Method: r.Method, Operation: operation, Path: r.URL.Path, Query: r.URL.Query(), Body: body}
}

func (m Match) matches(r *Request) bool {
	return (m.Client == "" || m.Client == r.Client) &&
		(m.Method == "" || m.Method == r.Method) &&
		(m.Operation == "" || m.Operation == r.Operation) &&
		strings.Contains(r.Path, m.Path) &&
		(m.Body == "" || strings.Contains(string(r.Body), m.Body)) &&
		(m.NotBody == "" || !strings.Contains(string(r.Body), m.NotBody)) &&
		(m.When == nil || m.When(r))
}
