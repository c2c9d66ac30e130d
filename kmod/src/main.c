// SPDX-License-Identifier: GPL-2.0-only
/* Comes and goes. Names itself ovpn6; and ovpn as well when it is told to and nobody else does. */

#include <linux/module.h>

#include "device.h"
#include "keepalive.h"
#include "key.h"
#include "netlink.h"

static bool compat;
module_param(compat, bool, 0444);
MODULE_PARM_DESC(compat, "also be the link kind and netlink family ovpn, if they are free");

struct ovpn6_face ovpn6_faces[2];

static int face_start(struct ovpn6_face *face, const char *name, bool is_own)
{
	int error;

	ovpn6_device_fill_kind(&face->link, name);
	ovpn6_netlink_fill_family(&face->family, name, is_own);
	error = genl_register_family(&face->family);
	if (error)
		return error;
	face->is_registered = true;
	error = rtnl_link_register(&face->link);
	if (error) {
		face->is_registered = false;
		genl_unregister_family(&face->family);
	}
	return error;
}

/* Devices go before the family, which tells of it. */
static void face_stop(struct ovpn6_face *face)
{
	if (!face->is_registered)
		return;
	rtnl_link_unregister(&face->link);
	genl_unregister_family(&face->family);
	face->is_registered = false;
}

static int __init ovpn6_start(void)
{
	int error = ovpn6_keys_start();

	if (error)
		return error;
	error = ovpn6_keepalive_start();
	if (error)
		goto stop_keys;
	error = face_start(&ovpn6_faces[0], "ovpn6", true);
	if (error)
		goto stop_keepalive;
	if (compat && face_start(&ovpn6_faces[1], "ovpn", false))
		pr_info("ovpn6: another module is ovpn; this one is ovpn6 only\n");
	return 0;
stop_keepalive:
	ovpn6_keepalive_end();
stop_keys:
	ovpn6_keys_stop();
	return error;
}

static void __exit ovpn6_stop(void)
{
	face_stop(&ovpn6_faces[1]);
	face_stop(&ovpn6_faces[0]);
	ovpn6_keepalive_end();
	ovpn6_keys_stop();
}

module_init(ovpn6_start);
module_exit(ovpn6_stop);
MODULE_DESCRIPTION("Data path of OpenVPN tunnels");
MODULE_AUTHOR("the authors of ovpn6");
MODULE_LICENSE("GPL");
MODULE_ALIAS_RTNL_LINK("ovpn6");
MODULE_ALIAS_GENL_FAMILY("ovpn6");
