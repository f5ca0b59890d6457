package stores

import "github.com/forebaylog/forebay/infra/kv"

// Identity is the object that holds the id of the cluster a bucket belongs to. A WAL store of its own has it
// under the prefix of WAL objects.
const Identity = "cluster-id"

// IdentityKey is the item of the offsets table that does the same.
var IdentityKey = kv.Key{Part: "cluster", Sort: "id"}
