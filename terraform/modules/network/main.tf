# How clients reach brokers, and brokers the stores. A client asks any broker for the cluster and then talks to each of
# them by its own address, so every broker has a listener of its own on one load balancer: names and ports stay when
# machines are replaced. The first port leads to any broker.

locals {
  brokers = { for id in var.broker_ids : tostring(id) => id }
  host    = var.dns == null ? aws_lb.this.dns_name : var.dns.name
}

data "aws_region" "current" {}

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Forebay ${var.name}: clients to the load balancer"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_security_group" "broker" {
  name        = "${var.name}-broker"
  description = "Forebay ${var.name}: brokers"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "client_cidr" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.balancer.id
  description       = "Kafka clients"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = var.port
  to_port           = var.port + max(var.broker_ids...)
}

resource "aws_vpc_security_group_ingress_rule" "client_group" {
  for_each = var.client_security_groups

  security_group_id            = aws_security_group.balancer.id
  description                  = "Kafka clients: ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port + max(var.broker_ids...)
}

# Brokers ask each other by the addresses that clients get, too.
resource "aws_vpc_security_group_ingress_rule" "broker_to_balancer" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "Brokers to each other"
  referenced_security_group_id = aws_security_group.broker.id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port + max(var.broker_ids...)
}

resource "aws_vpc_security_group_egress_rule" "balancer_to_broker" {
  for_each = { kafka = var.broker_port, admin = var.admin_port }

  security_group_id            = aws_security_group.balancer.id
  description                  = "Load balancer to brokers: ${each.key}"
  referenced_security_group_id = aws_security_group.broker.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "broker" {
  for_each = { kafka = var.broker_port, admin = var.admin_port }

  security_group_id            = aws_security_group.broker.id
  description                  = "Load balancer to brokers: ${each.key}"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "metrics" {
  for_each = toset(var.metrics_cidrs)

  security_group_id = aws_security_group.broker.id
  description       = "Prometheus"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = var.admin_port
  to_port           = var.admin_port
}

# S3 and DynamoDB are reached by their public names, through the gateway endpoints where there are some.
resource "aws_vpc_security_group_egress_rule" "broker_https" {
  security_group_id = aws_security_group.broker.id
  description       = "S3, DynamoDB and the other services of AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "broker_to_balancer" {
  security_group_id            = aws_security_group.broker.id
  description                  = "Brokers to each other"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port + max(var.broker_ids...)
}

# Traffic to the stores through a gateway endpoint is free, and does not need a NAT gateway.
resource "aws_vpc_endpoint" "this" {
  for_each = length(var.route_table_ids) == 0 ? toset([]) : toset(["s3", "dynamodb"])

  vpc_id            = var.vpc_id
  service_name      = "com.amazonaws.${data.aws_region.current.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.route_table_ids
  tags              = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_lb" "this" {
  name                             = var.name
  load_balancer_type               = "network"
  internal                         = var.internal
  subnets                          = var.subnet_ids
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true # a broker is in one zone, its clients are in all
  enable_deletion_protection       = var.deletion_protection
  tags                             = var.tags
}

resource "aws_lb_target_group" "any" {
  name                 = "${var.name}-any"
  vpc_id               = var.vpc_id
  target_type          = var.target_type
  port                 = var.broker_port
  protocol             = "TCP"
  preserve_client_ip   = false # a broker that asks the cluster may be led to itself
  deregistration_delay = 30
  tags                 = var.tags

  health_check {
    protocol            = "HTTP"
    port                = var.admin_port
    path                = var.target_type == "ip" ? "/healthz" : "/readyz" # ECS ends tasks that fail here, also those that wait for their stores
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

# A broker that is not ready gets no new connections at the first port. At its own port it always does: only it can
# say who leads a partition now.
resource "aws_lb_target_group" "broker" {
  for_each = local.brokers

  name                 = "${var.name}-${each.key}"
  vpc_id               = var.vpc_id
  target_type          = var.target_type
  port                 = var.broker_port
  protocol             = "TCP"
  preserve_client_ip   = false
  deregistration_delay = 30
  tags                 = var.tags

  health_check {
    protocol            = "TCP"
    port                = var.broker_port
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "any" {
  load_balancer_arn = aws_lb.this.arn
  port              = var.port
  protocol          = "TCP"
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.any.arn
  }
}

resource "aws_lb_listener" "broker" {
  for_each = local.brokers

  load_balancer_arn = aws_lb.this.arn
  port              = var.port + each.value
  protocol          = "TCP"
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.broker[each.key].arn
  }
}

resource "aws_route53_record" "this" {
  count = var.dns == null ? 0 : 1

  zone_id = var.dns.zone_id
  name    = var.dns.name
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = false
  }
}
