#!/bin/bash
# A throw-away Ceph S3 gateway on loopback (one monitor, one in-memory store, one gateway) in a NEW folder.
# Needs Debian's ceph-mon, ceph-osd, ceph-mgr and radosgw. The pids are left in the folder as *.pid.
set -eu
mkdir -p "$1/mon" "$1/osd" "$1/rgw" && cd "$1"
here=$PWD cluster=$(cat /proc/sys/kernel/random/uuid)
cat > ceph.conf <<END
[global]
fsid = $cluster
mon host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
mon allow pool size one = true
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
log file = $here/\$name.log
admin socket = $here/\$name.asok
run dir = $here
pid file = $here/\$name.pid
mon data = $here/mon
osd data = $here/osd
keyring = $here/keyring
[client.rgw]
rgw data = $here/rgw
rgw frontends = beast endpoint=127.0.0.1:7480
END
export CEPH_CONF=$here/ceph.conf
ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
monmaptool --create --fsid "$cluster" --addv a '[v2:127.0.0.1:3300,v1:127.0.0.1:6789]' monmap
ceph-mon --mkfs -i a --monmap monmap --keyring keyring
ceph-mon -i a --pid-file "$here/mon.pid"
number=$(timeout 30 ceph osd create)
timeout 30 ceph auth get-or-create "osd.$number" mon 'allow *' osd 'allow *' -o osd/keyring
ceph-authtool keyring --import-keyring osd/keyring
cp keyring osd/keyring
ceph-osd -i "$number" --mkfs --osd-uuid "$(cat /proc/sys/kernel/random/uuid)" || true
timeout 30 ceph osd crush add "osd.$number" 1.0 root=default host=here
ceph-osd -i "$number" --pid-file "$here/osd.pid"
timeout 30 ceph auth get-or-create client.rgw mon 'allow rw' osd 'allow rwx' -o rgw/keyring
ceph-authtool keyring --import-keyring rgw/keyring
cp keyring rgw/keyring
radosgw -n client.rgw --pid-file "$here/rgw.pid"
for _ in $(seq 120); do (exec 3<> /dev/tcp/127.0.0.1/7480) 2> /dev/null && break; sleep 0.5; done
timeout 60 radosgw-admin user create --uid=test --display-name=test --access-key=testing --secret=testing-secret
