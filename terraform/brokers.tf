# Brokers are numbered from 1 on and go round the subnets, so that each zone has its share.

data "aws_subnet" "broker" {
  count = var.platform == "none" ? 0 : length(var.subnet_ids)

  id = var.subnet_ids[count.index]
}

locals {
  broker_ids = range(1, var.broker_count + 1)
  brokers = var.platform == "none" ? {} : {
    for id in local.broker_ids : tostring(id) => {
      subnet_id         = var.subnet_ids[(id - 1) % length(var.subnet_ids)]
      zone              = data.aws_subnet.broker[(id - 1) % length(var.subnet_ids)].availability_zone
      advertised        = module.network[0].advertised[tostring(id)]
      target_group_arns = module.network[0].target_group_arns[tostring(id)]
    }
  }

  # A broker that leaves maintenance to functions has fewer rights.
  broker_policy = module.iam.policies[local.functions_maintain ? "broker" : "node"]
}

module "network" {
  source = "./modules/network"
  count  = var.platform == "none" ? 0 : 1

  name                   = var.name
  vpc_id                 = var.vpc_id
  subnet_ids             = var.subnet_ids
  route_table_ids        = var.route_table_ids
  broker_ids             = local.broker_ids
  target_type            = var.platform == "ec2" ? "instance" : "ip"
  client_cidrs           = var.client_cidrs
  client_security_groups = var.client_security_groups
  metrics_cidrs          = var.metrics_cidrs
  dns                    = var.dns
  deletion_protection    = var.protect
  tags                   = local.tags
}

module "brokers_ec2" {
  source = "./modules/brokers-ec2"
  count  = var.platform == "ec2" ? 1 : 0

  name                 = var.name
  brokers              = local.brokers
  policy               = local.broker_policy
  object_store         = local.object_store
  wal_store            = local.wal_store
  metadata             = local.metadata
  functions_maintain   = local.functions_maintain
  settings             = var.broker_settings
  security_group_ids   = [module.network[0].broker_security_group_id]
  binary               = var.binary
  binary_sha256        = var.binary_sha256
  architecture         = var.architecture
  instance_type        = var.instance_type
  data_volume          = var.data_volume
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}

module "brokers_ecs" {
  source = "./modules/brokers-ecs"
  count  = var.platform == "ecs" ? 1 : 0

  name                 = var.name
  brokers              = local.brokers
  policy               = local.broker_policy
  object_store         = local.object_store
  wal_store            = local.wal_store
  metadata             = local.metadata
  functions_maintain   = local.functions_maintain
  settings             = var.broker_settings
  security_group_ids   = [module.network[0].broker_security_group_id]
  image                = var.image
  architecture         = var.architecture
  cpu_units            = var.task_size.cpu_units
  memory_mb            = var.task_size.memory_mb
  disk_gb              = var.task_size.disk_gb
  assign_public_ip     = var.assign_public_ip
  log_retention_days   = var.log_retention_days
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}
