package rights

// Call is something that a process asks of AWS.
type Call struct {
	Action   string
	Resource string // ARN
	Prefix   string // that is listed, for s3:ListBucket; empty for all
}

// Allowing returns the statement that allows a call, or nil. It knows what the policies of this package are
// made of: actions in full, resources with * and ? in them, and the prefix of a listing.
func (d Document) Allowing(c Call) *Statement {
	for i := range d.Statement {
		if d.Statement[i].allows(c) {
			return &d.Statement[i]
		}
	}
	return nil
}

func (s Statement) allows(c Call) bool {
	return AnyLike(s.Action, c.Action) && AnyLike(s.Resource, c.Resource) &&
		(s.Condition == nil || AnyLike(s.Condition["StringLikeIfExists"]["s3:prefix"], c.Prefix))
}
