package broker

// transactionVersion is the level of the feature transaction.version.
func (b *Broker) transactionVersion() int8 { return txnVersion2 }
