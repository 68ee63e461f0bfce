// Package etcd is the catalog on etcd.
//
// It maps records to keys one to one, conditions to comparisons, and a change to one
// transaction. It knows nothing of what the records mean. It refuses changes that etcd's
// default limits would refuse, before sending them. It reads again where a member or the
// leader is gone, and never retries a write that a server may have begun: whether a lost
// answer meant success is the caller's question.
package etcd
