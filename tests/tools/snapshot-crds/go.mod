// The CustomResourceDefinitions of snapshots, which are files of this module and no program.
module cleat.invalid/tests/tools/snapshot-crds

go 1.26.0

require github.com/kubernetes-csi/external-snapshotter/client/v8 v8.7.0
