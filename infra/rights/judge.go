package rights

import "strings"

// Call is something that a process asks of AWS.
type Call struct {
	Action   string
	Resource string // ARN
	Prefix   string // that is listed, for s3:ListBucket; empty for all
}

// Allowing returns the statement that allows a call, or nil. It knows what the policies of this package are
// made of: actions in full, resources with * in them, and the prefix of a listing.
func (d Document) Allowing(c Call) *Statement {
	for i := range d.Statement {
		if d.Statement[i].allows(c) {
			return &d.Statement[i]
		}
	}
	return nil
}

func (s Statement) allows(c Call) bool {
	return anyLike(s.Action, c.Action) && anyLike(s.Resource, c.Resource) &&
		(s.Condition == nil || anyLike(s.Condition["StringLikeIfExists"]["s3:prefix"], c.Prefix))
}

func anyLike(patterns []string, s string) bool {
	for _, p := range patterns {
		if like(p, s) {
			return true
		}
	}
	return false
}

// like matches IAM's patterns, of which * stands for any text.
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	last := len(parts) - 1
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, part := range parts[1:last] {
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return strings.HasSuffix(s, parts[last])
}
