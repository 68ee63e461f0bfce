// Package cluster runs what a production has, as processes on loopback: three members of
// etcd, an S3 server, and three replicas of the registry, with a proxy on every way between
// them that can break it. What dies is started again.
package cluster
