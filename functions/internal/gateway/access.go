package gateway

import (
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/infra/rights"
)

// Access is which of the callers that AWS lets through may do what. The zero value lets all of them do everything.
type Access struct {
	readers, writers []string
}

// ParseAccess reads two lists of patterns of ARNs, separated by commas, as IAM has them: see rights.Like. If either list
// is given only callers that match one may do anything: readers read, and writers read and change things.
func ParseAccess(readers, writers string) Access { return Access{patterns(readers), patterns(writers)} }

func patterns(list string) (all []string) {
	for p := range strings.SplitSeq(list, ",") {
		if p = strings.TrimSpace(p); p != "" {
			all = append(all, p)
		}
	}
	return all
}

// Who tells who sends a request that Serve has made. It fails with an *admin.Refusal.
func (a Access) Who(r *http.Request) (admin.Caller, error) {
	iam, ok := r.Context().Value(iamKey{}).(*events.LambdaFunctionURLRequestContextAuthorizerIAMDescription)
	if !ok || iam.UserARN == "" {
		return admin.Caller{}, &admin.Refusal{Status: http.StatusForbidden, Detail: "no IAM caller: the function URL or the HTTP API needs the auth type AWS_IAM, and the request a signature"}
	}
	c := admin.Caller{Principal: iam.UserARN, Address: r.RemoteAddr, Writes: true}
	if len(a.readers)+len(a.writers) == 0 {
		return c, nil
	}
	c.Writes = rights.AnyLike(a.writers, iam.UserARN)
	if !c.Writes && !rights.AnyLike(a.readers, iam.UserARN) {
		return admin.Caller{}, &admin.Refusal{Status: http.StatusForbidden, Detail: iam.UserARN + " may do nothing here: FOREBAY_ADMIN_READERS and FOREBAY_ADMIN_WRITERS do not name it"}
	}
	return c, nil
}
