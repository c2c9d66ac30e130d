#!/bin/sh
# debian.sh VERSION [DIRECTORY] makes DIRECTORY/ovpn6-dkms_VERSION_all.deb, beside this file without
# one: the sources for DKMS, which builds them for each kernel whose headers are there. Needs
# dpkg-deb, nothing else.
set -eu
version=$1
here=$(cd "$(dirname "$0")" && pwd)
target=${2:-$here}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
# What mktemp makes is for its owner alone, and would be so where it is installed.
chmod 755 "$tree"

sources="$tree/usr/src/ovpn6-$version"
mkdir -p "$sources" "$tree/DEBIAN" "$tree/usr/share/doc/ovpn6-dkms"
for part in Kbuild Makefile LICENSE README.md; do
	cp "$here/$part" "$sources/"
done
for part in src probe uapi; do
	mkdir "$sources/$part"
	cp "$here/$part"/*.[ch] "$sources/$part/"
done
sed "s/@VERSION@/$version/" "$here/dkms.conf.in" > "$sources/dkms.conf"
cp "$here/LICENSE" "$tree/usr/share/doc/ovpn6-dkms/copyright"

cat > "$tree/DEBIAN/control" <<END
Package: ovpn6-dkms
Version: $version
Architecture: all
Section: kernel
Priority: optional
Depends: dkms
Recommends: linux-headers-generic | linux-headers-amd64
Maintainer: ovpn6 <ovpn6@localhost>
Description: data path of OpenVPN tunnels as a kernel module
 Builds ovpn6.ko for the kernels of this machine. Both ovpn6 and, with the
 module's parameter compat=1, OpenVPN 2.7 can have their data packets carried
 by it.
END
cat > "$tree/DEBIAN/postinst" <<END
#!/bin/sh
set -e
test "\$1" != configure || /usr/lib/dkms/common.postinst ovpn6 $version "" "" "\$2"
END
cat > "$tree/DEBIAN/prerm" <<END
#!/bin/sh
set -e
case "\$1" in
remove | upgrade | deconfigure) dkms remove -m ovpn6 -v $version --all || true ;;
esac
END
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
find "$sources" "$tree/usr/share" -type f -exec chmod 644 {} +
dpkg-deb --root-owner-group --build "$tree" "$target/ovpn6-dkms_${version}_all.deb"
