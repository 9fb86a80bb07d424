"""Which symbols an account has to do with."""

from alina.orchestrator.runtime import Runtime


def symbols(runtime: Runtime) -> tuple[str, ...]:
    """Those of `market.symbols`, and those taken out of it in which something is still held or ordered.

    The kernel lets no entry into the latter: what is there is looked after until it is gone.
    """
    account = runtime.account
    with runtime.unit_of_work() as uow:
        held = [position.symbol for position in uow.ledger.open_positions(account)]
        orders = [known.order for known in uow.ledger.unsettled_orders()]
    ordered = [order.symbol for order in orders if order.account == account]
    return tuple(dict.fromkeys((*runtime.settings.market.symbols, *held, *ordered)))
