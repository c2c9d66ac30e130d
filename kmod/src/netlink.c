// SPDX-License-Identifier: GPL-2.0-only
/*
 * The edge to netlink: which device is meant, is it ours and alive, what is in the nest. The
 * handlers behind it see a device that is locked and attributes that are within their limits.
 */

#include "netlink.h"

#include "compat.h"
#include "key.h"
#include "policies.h"

static struct ovpn6_face *face_of(u16 message_type)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ovpn6_faces); i++)
		if (ovpn6_faces[i].is_registered && ovpn6_faces[i].family.id == message_type)
			return &ovpn6_faces[i];
	return NULL;
}

/* The device of a number, held. */
static struct ovpn6_device *device_of(struct net *net, struct nlattr *index, u16 message_type,
				      struct netlink_ext_ack *extack)
{
	struct net_device *dev = dev_get_by_index(net, nla_get_u32(index));
	struct ovpn6_face *face = face_of(message_type);

	if (!dev) {
		NL_SET_ERR_MSG(extack, "ifindex does not match any interface");
		return ERR_PTR(-ENODEV);
	}
	if (!ovpn6_device_is_ours(dev) || !face || dev->rtnl_link_ops != &face->link) {
		NL_SET_ERR_MSG_ATTR(extack, index, "specified interface is not ovpn");
		dev_put(dev);
		return ERR_PTR(-EINVAL);
	}
	return netdev_priv(dev);
}

/* @prepare: what comes before the device is locked, or NULL. */
static int handle(struct sk_buff *message, struct genl_info *info, int attribute,
		  const struct nla_policy *policy, int last, ovpn6_handler prepare,
		  ovpn6_handler handler)
{
	struct ovpn6_request request = {
		.message = message, .info = info, .extack = info->extack,
	};
	int error;

	if (GENL_REQ_ATTR_CHECK(info, OVPN6_A_IFINDEX))
		return -EINVAL;
	request.device = device_of(genl_info_net(info), info->attrs[OVPN6_A_IFINDEX],
				   info->nlhdr->nlmsg_type, info->extack);
	if (IS_ERR(request.device))
		return PTR_ERR(request.device);
	if (GENL_REQ_ATTR_CHECK(info, attribute)) {
		error = -EINVAL;
		goto put;
	}
	error = nla_parse_nested(request.nest, last, info->attrs[attribute], policy, info->extack);
	if (!error && prepare)
		error = prepare(&request);
	if (error)
		goto put;
	mutex_lock(&request.device->lock);
	if (request.device->is_dying) {
		NL_SET_ERR_MSG(info->extack, "the interface is being deleted");
		error = -ENODEV;
	} else {
		error = handler(&request);
	}
	mutex_unlock(&request.device->lock);
put:
	ovpn6_key_put(request.key);
	dev_put(request.device->dev);
	return error;
}

#define HANDLE(name, NAME, attribute, prepare)                                                 \
	static int name##_doit(struct sk_buff *skb, struct genl_info *info)                    \
	{                                                                                      \
		return handle(skb, info, attribute, ovpn6_##name##_policy,                     \
			      OVPN6_##NAME##_LAST, prepare, ovpn6_handle_##name);              \
	}

HANDLE(peer_new, PEER_NEW, OVPN6_A_PEER, NULL)
HANDLE(peer_set, PEER_SET, OVPN6_A_PEER, NULL)
HANDLE(peer_get, PEER_GET, OVPN6_A_PEER, NULL)
HANDLE(peer_del, PEER_DEL, OVPN6_A_PEER, NULL)
HANDLE(key_new, KEY_NEW, OVPN6_A_KEYCONF, ovpn6_prepare_key_new)
HANDLE(key_get, KEY_GET, OVPN6_A_KEYCONF, NULL)
HANDLE(key_swap, KEY_SWAP, OVPN6_A_KEYCONF, NULL)
HANDLE(key_del, KEY_DEL, OVPN6_A_KEYCONF, NULL)
HANDLE(prefix_new, PREFIX_NEW, OVPN6_A_PREFIX, NULL)
HANDLE(prefix_del, PREFIX_DEL, OVPN6_A_PREFIX, NULL)

static int dump(struct sk_buff *skb, struct netlink_callback *cb,
		int (*put_all)(struct sk_buff *message, struct netlink_callback *cb,
			       struct ovpn6_device *device))
{
	struct nlattr **attributes = ovpn6_dump_attributes(cb);
	struct ovpn6_device *device;
	int error;

	if (NL_REQ_ATTR_CHECK(cb->extack, NULL, attributes, OVPN6_A_IFINDEX))
		return -EINVAL;
	device = device_of(sock_net(cb->skb->sk), attributes[OVPN6_A_IFINDEX], cb->nlh->nlmsg_type,
			   cb->extack);
	if (IS_ERR(device))
		return PTR_ERR(device);
	error = put_all(skb, cb, device);
	dev_put(device->dev);
	return error;
}

static int peer_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nlattr *peer = ovpn6_dump_attributes(cb)[OVPN6_A_PEER];

	/* The policy is that of a request for one peer. */
	if (peer) {
		NL_SET_ERR_MSG_ATTR(cb->extack, peer, "Unknown attribute type");
		return -EINVAL;
	}
	return dump(skb, cb, ovpn6_peer_put_all);
}

static int prefix_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	return dump(skb, cb, ovpn6_prefix_put_all);
}

#define OPERATION(name, NAME, permission, ...)                                                 \
	{                                                                                      \
		.cmd = OVPN6_CMD_##NAME, .flags = permission,                                  \
		.policy = ovpn6_##name##_request,                                              \
		.maxattr = ARRAY_SIZE(ovpn6_##name##_request) - 1, ##__VA_ARGS__               \
	}
#define DO(name, NAME, permission, ...) \
	OPERATION(name, NAME, permission, .doit = name##_doit, ##__VA_ARGS__)

#define SHARED(permission)                                                                     \
	DO(peer_new, PEER_NEW, permission),                                                    \
	DO(peer_set, PEER_SET, permission),                                                    \
	DO(peer_get, PEER_GET, permission, .dumpit = peer_dumpit),                             \
	DO(peer_del, PEER_DEL, permission),                                                    \
	DO(key_new, KEY_NEW, permission),                                                      \
	DO(key_get, KEY_GET, permission),                                                      \
	DO(key_swap, KEY_SWAP, permission),                                                    \
	DO(key_del, KEY_DEL, permission)

/* The initial user namespace only, as in the module that the compatible family stands for. */
static const struct genl_ops shared_operations[] = { SHARED(GENL_ADMIN_PERM) };
/* Whoever may configure the network namespace. */
static const struct genl_ops own_operations[] = {
	SHARED(GENL_UNS_ADMIN_PERM),
	DO(prefix_new, PREFIX_NEW, GENL_UNS_ADMIN_PERM),
	DO(prefix_del, PREFIX_DEL, GENL_UNS_ADMIN_PERM),
	OPERATION(prefix_get, PREFIX_GET, GENL_UNS_ADMIN_PERM, .dumpit = prefix_dumpit),
};

static const struct genl_multicast_group groups[] = {
	{ .name = OVPN6_NETLINK_GROUP },
};

/**
 * ovpn6_netlink_fill_family - what a family is, before it is registered
 * @family: to be filled
 * @name: its name
 * @is_own: all that there is, also for a user namespace that owns the network namespace; else what
 *	Linux' own family has, for whom that has it
 */
void ovpn6_netlink_fill_family(struct genl_family *family, const char *name, bool is_own)
{
	strscpy(family->name, name, sizeof(family->name));
	family->version = OVPN6_NETLINK_VERSION;
	family->maxattr = is_own ? OVPN6_A_MAX : OVPN6_A_LAST_SHARED;
	family->netnsok = true;
	family->parallel_ops = true;
	family->module = THIS_MODULE;
	family->ops = is_own ? own_operations : shared_operations;
	family->n_ops = is_own ? ARRAY_SIZE(own_operations) : ARRAY_SIZE(shared_operations);
	family->mcgrps = groups;
	family->n_mcgrps = ARRAY_SIZE(groups);
}
