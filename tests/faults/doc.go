// Faults runs three replicas of the registry over three members of etcd and an S3 server,
// breaks them and the ways between them for as long as it is told, has clients work
// meanwhile, and checks after every round what the registry owes.
//
//	make faults SEED=7 DURATION=10m TALLY=faults.json
//
// A seed decides what clients do and which faults come; the machine decides the rest, so a
// seed that found something is worth trying more than once.
package main
