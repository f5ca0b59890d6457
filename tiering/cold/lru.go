package cold

// lru is a map whose entries are ordered by their last use. It is not safe for
// concurrent use.
type lru[K comparable, V any] struct {
	entries        map[K]*node[K, V]
	latest, oldest *node[K, V]
}

type node[K comparable, V any] struct {
	key          K
	value        V
	newer, older *node[K, V]
}

func newLRU[K comparable, V any]() *lru[K, V] { return &lru[K, V]{entries: map[K]*node[K, V]{}} }

// use returns the value of key and makes it the latest.
func (l *lru[K, V]) use(key K) (*V, bool) {
	n, ok := l.entries[key]
	if !ok {
		return nil, false
	}
	l.unlink(n)
	l.push(n)
	return &n.value, true
}

// has reports whether there is a value for key.
func (l *lru[K, V]) has(key K) bool {
	_, ok := l.entries[key]
	return ok
}

// add puts a value for a new key in as the latest.
func (l *lru[K, V]) add(key K, value V) {
	n := &node[K, V]{key: key, value: value}
	l.entries[key] = n
	l.push(n)
}

// remove takes the value of key out.
func (l *lru[K, V]) remove(key K) (value V, ok bool) {
	n, ok := l.entries[key]
	if !ok {
		return value, false
	}
	delete(l.entries, key)
	l.unlink(n)
	return n.value, true
}

func (l *lru[K, V]) push(n *node[K, V]) {
	n.newer, n.older = nil, l.latest
	if l.latest != nil {
		l.latest.newer = n
	} else {
		l.oldest = n
	}
	l.latest = n
}

func (l *lru[K, V]) unlink(n *node[K, V]) {
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		l.latest = n.older
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		l.oldest = n.newer
	}
}
