package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
)

// ailment is what is wrong, with what to do about it.
type ailment struct {
	err     error
	mend    string
	warning bool
}

func (a *ailment) Error() string { return a.err.Error() }
func (a *ailment) Unwrap() error { return a.err }

// mendable is a failure that mend says how to mend.
func mendable(mend, format string, args ...any) error {
	return &ailment{err: fmt.Errorf(format, args...), mend: mend}
}

// warn is what may be meant so.
func warn(mend, format string, args ...any) error {
	return &ailment{err: fmt.Errorf(format, args...), mend: mend, warning: true}
}

func isWarning(err error) bool {
	var a *ailment
	return errors.As(err, &a) && a.warning
}

// mends says what to do about the errors of the packages below; the first that errors.Is reports counts.
var mends = []struct {
	err  error
	mend string
}{
	{objstore.ErrNoBucket, "create the bucket, or correct its name or region in the URL"},
	{objstore.ErrRefused, "check the credentials (AWS_ACCESS_KEY_ID, a profile or the role), their rights on bucket and prefix, and this machine's clock; 'forebay iam policy' prints the rights"},
	{objstore.ErrUnavailable, "check the endpoint or region in the URL, DNS, routes and security groups; in a VPC a gateway endpoint for S3"},
	{kv.ErrUnsound, "use DynamoDB, or a table service whose conditional writes and consistent reads are right: Forebay would lose records on this one"},
	{kv.ErrNoTable, "create the tables (terraform/modules/tables), or add create=true to the URL, or correct prefix and region"},
	{kv.ErrNoCredentials, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"},
	{kv.ErrAccessDenied, "allow the role what 'forebay iam policy' prints"},
	{kv.ErrClockSkew, "set this machine's clock, for example with chrony and the Amazon Time Sync Service at 169.254.169.123"},
	{kv.ErrThrottled, "raise the table's capacity, or use on-demand billing"},
	{kv.ErrUnreachable, "check the endpoint or region in the URL, DNS, routes and security groups; in a VPC a gateway endpoint for DynamoDB"},
	{kv.ErrForeign, "name other tables: these belong to something else"},
	{kv.ErrLocked, "stop the process that has the tables open"},
	{metalog.ErrNewer, "upgrade this binary: a newer one has written the metadata"},
	{metalog.ErrCorrupt, "stop the brokers and run 'forebay verify' with the same stores"},
	{broker.ErrForeign, "check --object-store, --wal-store and --metadata: they must be of one cluster"},
}

// mend is what to do about an error, "" if only its own words say.
func mend(err error) string {
	if a := (*ailment)(nil); errors.As(err, &a) {
		return a.mend
	}
	for _, m := range mends {
		if errors.Is(err, m.err) {
			return m.mend
		}
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return "make the name " + dns.Name + " resolve from here, or correct it"
	}
	return ""
}
